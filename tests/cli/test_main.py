"""The command line: what it offers, how it fails, and what a run leaves behind."""

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from qdgs_lightning import __version__
from qdgs_lightning.cli.main import PLAIN_COMMANDS, TRAINER_COMMANDS, main
from qdgs_lightning.datasets.records.writer import write_record_dataset
from qdgs_lightning.errors import ConfigError
from qdgs_lightning.trainer.trainer_cli import TrainerCLI
from tests.boring import BoringTask
from tests.faces import identities

CONFIG = """
seed_everything: 3
model:
  class_path: tests.boring.BoringTask
  init_args: {lr: 0.05}
data:
  class_path: tests.boring.BoringData
trainer:
  max_epochs: 1
  log_every_n_steps: 1
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
  logger:
  - class_path: CSVLogger
    init_args: {save_dir: runs, name: boring}
"""
WANDB = """  - class_path: WandbLogger
    init_args: {save_dir: runs, project: boring}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["qdgs"])


def written(text: str, name: str = "config.yaml") -> str:
    Path(name).write_text(text)
    return name


def complaint(*words: str) -> str:
    """The only sentence that a failing command says."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert isinstance(caught.value.code, str)  # Python prints it and ends with status 1
    assert "\n" not in caught.value.code
    return caught.value.code


def runs() -> list[Path]:
    return sorted(Path("runs/boring").glob("version_*"))


def saved(folder: Path, name: str = "config.yaml") -> dict[str, Any]:
    config = yaml.safe_load((folder / name).read_text())
    assert isinstance(config, dict)
    return config


def metric(folder: Path, name: str) -> float:
    """The last value of a metric in a run's CSV log."""
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]][-1]


def test_help_lists_every_command_at_once() -> None:
    program = (
        "import sys; from qdgs_lightning.cli.main import main; main(); print(len(sys.modules))"
    )
    words = [sys.executable, "-c", program + "; assert 'torch' not in sys.modules", "--help"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for command in ("fit", "test", "search", "data inspect", "shapes-demo", "shapes-table"):
        assert f"\n  {command} " in told
    for name in (*TRAINER_COMMANDS, *PLAIN_COMMANDS):
        assert re.search(rf"^  {name} +\S", told, flags=re.MULTILINE), name


def test_a_word_with_commands_behind_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["data"], ["data", "--help"], ["data", "-h"]):
        main(words)
        told = capsys.readouterr().out
        assert told.startswith("usage: qdgs data COMMAND")
        for command in ("inspect", "verify", "pack", "unpack"):
            assert f"\n  {command} " in told
        assert "search" not in told
    with pytest.raises(SystemExit) as ended:
        main(["data", "verify", "--help"])
    assert ended.value.code in (None, 0)
    assert capsys.readouterr().out.startswith("usage: qdgs data verify ")


def test_python_m_is_the_twin() -> None:
    words = [sys.executable, "-m", "qdgs_lightning", "--version"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout == f"qdgs-lightning {__version__}\n"


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("lr:", "lrr:", "did you mean 'lr'?"),
        ("max_epochs", "max_epoch", "did you mean 'trainer.max_epochs'?"),
        ("data:", "dta:", "did you mean 'data'?"),
        ("init_args: {lr", "init_arg: {lr", "did you mean 'init_args'?"),
        ("BoringTask", "BoringTsk", "did you mean 'tests.boring.BoringTask'?"),
        ("boring.BoringTask", "borin.BoringTask", "did you mean 'tests.boring.BoringTask'?"),
        ("CSVLogger", "CVSLogger", "did you mean 'CSVLogger'?"),
        ("0.05", "five", "lr: expected float, not 'five'"),
        ("tests.boring.BoringTask", "Nonsense", "there is no class 'Nonsense'"),
        ("{lr: 0.05}", "{lr: 0.05", "config.yaml is not YAML in line 6, column 5 ("),
    ],
)
def test_misspelt_yaml_is_told_with_the_likely_spelling(right: str, wrong: str, told: str) -> None:
    assert right in CONFIG
    assert told in complaint("fit", "--config", written(CONFIG.replace(right, wrong)))
    assert not runs()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fti"], "there is no command 'fti' (did you mean 'fit'?)"),
        (
            ["--config", "x.yaml"],
            "(it has fit, validate, test, predict, search, ",
        ),
        (["dta"], "there is no command 'dta' (did you mean 'data'?)"),
        (["data", "verfy"], "there is no command 'data verfy' (did you mean 'data verify'?)"),
        (
            ["data", "x"],
            "(it has data inspect, data verify, data pack, data unpack, data identities)",
        ),
        (["data", "verify", "--pth", "x"], "did you mean '--path'?"),
        (["fit", "--confg", "x.yaml"], "did you mean '--config'?"),
        (["fit", "--trainer.max_epoch=1"], "did you mean '--trainer.max_epochs'?"),
        (["search", "--evaluation", "5"], "did you mean '--evaluations'?"),
        (["search", "--search.grd=[3,3]"], "did you mean '--search.grid'?"),
        (["search", "--search.algorithm=targetted"], "'targeted'"),
        (["shapes-demo", "--arm=[qd]"], "did you mean '--arms'?"),
        (["fit", "--config", "none.yaml"], "/none.yaml is not there"),
        (["fit"], "are required: fit.data, fit.model (give them in a YAML file"),
    ],
)
def test_misspelt_options_are_told_with_the_likely_spelling(words: list[str], told: str) -> None:
    assert told in complaint(*words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fit", "--trainer.accelerator", "foo"], "foo"),
        (["fit", "--trainer.strategy", "foo"], "foo"),
        (["fit", "--trainer.precision", "bf16-mixed", "--trainer.devices", "0"], "devices"),
        (["test", "--ckpt_path", "last"], "/last': runs keep theirs"),
        (["test", "--ckpt_path", "best"], "/best': runs keep theirs"),
    ],
)
def test_settings_of_the_trainer_are_complained_of_in_a_sentence(
    words: list[str], told: str
) -> None:
    config = written(CONFIG)
    assert told in complaint(words[0], "--config", config, *words[1:])


class Buggy(BoringTask):
    """Fails while it deals with a mistake of the user's."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Raise."""
        try:
            raise ConfigError("this was dealt with")
        except ConfigError:
            return {"no": torch.zeros(())}["bug"]


def test_a_bug_is_not_told_as_a_mistake_of_the_users() -> None:
    config = written(CONFIG.replace("tests.boring.BoringTask", "tests.cli.test_main.Buggy"))
    with pytest.raises(KeyError, match="bug"):
        main(["fit", "--config", config])


class Large(BoringTask):
    """Asks for more than a GPU has."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Raise what torch would."""
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")


def test_a_batch_that_memory_does_not_hold_is_told_in_a_sentence() -> None:
    config = written(CONFIG.replace("tests.boring.BoringTask", "tests.cli.test_main.Large"))
    assert "Tried to allocate 9 GiB): lower `data.init_args.batch_size`" in complaint(
        "fit", "--config", config
    )


def test_user_errors_end_with_status_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [sys.executable, "-m", "qdgs_lightning", "fti"]
    failed = subprocess.run(words, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr == "qdgs: there is no command 'fti' (did you mean 'fit'?).\n"
    monkeypatch.setenv("QDGS_DEBUG", "1")
    shown = subprocess.run(words, capture_output=True, text=True)
    assert shown.returncode != 0
    assert "Traceback" in shown.stderr


def test_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, where a folder should be")
    told = complaint("fit", "--config", written(CONFIG))
    assert "runs" in told
    assert "choose a place" in told


def test_short_and_full_class_names_mean_the_same() -> None:
    main(["fit", "--config", written(CONFIG)])
    main(["fit", "--config", written(CONFIG.replace("tests.boring.", ""))])
    first, second = map(saved, runs())
    assert first["model"]["class_path"] == second["model"]["class_path"]
    assert first["data"] == second["data"]


def test_a_config_says_which_revision_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path.cwd().parent))
    main(["fit", "--config", written(CONFIG)])
    (first,) = runs()
    lines = (first / "config.yaml").read_text().splitlines()
    assert lines[:2] == ["# started in no git folder", f"# qdgs-lightning {__version__}"]

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *who, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init")
    git("add", "config.yaml")
    git("commit", "-m", "configured")
    for change in ("", "-dirty"):
        main(["fit", "--config", "config.yaml"])
        head = (runs()[-1] / "config.yaml").read_text().splitlines()[0]
        assert head == f"# git revision {git('rev-parse', 'HEAD')}{change}"
        with Path("config.yaml").open("a") as file:
            file.write("# changed\n")


def test_each_run_keeps_its_config() -> None:
    main(["fit", "--config", written(CONFIG)])
    main(["fit", "--config", "config.yaml", "--model.init_args.lr=0.5", "--seed_everything=4"])
    first, second = map(saved, runs())
    assert (first["model"]["init_args"]["lr"], first["seed_everything"]) == (0.05, 3)
    assert (second["model"]["init_args"]["lr"], second["seed_everything"]) == (0.5, 4)
    assert second["data"]["init_args"] == {"size": 8, "width": 2}  # defaults are kept as well
    for folder in runs():
        assert (folder / "metrics.csv").is_file()
        assert list((folder / "checkpoints").glob("*.ckpt"))


def test_a_run_in_a_used_folder_adds_its_config(capsys: pytest.CaptureFixture[str]) -> None:
    fixed = written(CONFIG.replace("name: boring", "name: boring, version: version_0"))
    main(["fit", "--config", fixed])
    main(["fit", "--config", fixed, "--model.init_args.lr=0.5"])
    (folder,) = runs()
    hints = capsys.readouterr().out.split("Test it: qdgs test --config ")[1:]
    names = [hint.partition(" ")[0] for hint in hints]
    assert names == [str(folder / name) for name in ("config.yaml", "config-1.yaml")]
    assert saved(folder)["model"]["init_args"]["lr"] == 0.05
    assert saved(folder, "config-1.yaml")["model"]["init_args"]["lr"] == 0.5


def test_a_saved_config_runs_again() -> None:
    main(["fit", "--config", written(CONFIG)])
    main(["fit", "--config", str(runs()[0] / "config.yaml")])
    first, second = map(saved, runs())
    assert first == second
    metrics = [(folder / "metrics.csv").read_text() for folder in runs()]
    assert metrics[0] == metrics[1]


def test_the_config_of_a_fit_also_tests(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", written(CONFIG)])
    told = capsys.readouterr().out
    assert f"Run folder: {runs()[0]}\n" in told
    main(told.partition("Test it: qdgs ")[2].split())
    folder = runs()[0] / "test"
    assert metric(folder, "test/lr") == pytest.approx(0.05)
    assert capsys.readouterr().out.endswith(f"Run folder: {folder}\n")


def test_print_config_is_a_config_and_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", written(CONFIG), "--print_config"])
    assert ended.value.code in (None, 0)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"] == {"lr": 0.05, "width": 2}
    assert not runs()


def test_the_seed_has_a_number_by_default() -> None:
    config = written(CONFIG.replace("seed_everything: 3\n", ""))
    main(["fit", "--config", config])
    assert saved(runs()[0])["seed_everything"] == 0


def test_the_config_rules_over_the_checkpoint() -> None:
    main(["fit", "--config", written(CONFIG)])
    (checkpoint,) = (runs()[0] / "checkpoints").glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["lr"] == 0.05
    new = written(CONFIG.replace("0.05", "0.7"), "new.yaml")
    main(["test", "--config", new, "--ckpt_path", str(checkpoint)])
    assert metric(runs()[0] / "test", "test/lr") == pytest.approx(0.7)
    assert saved(runs()[0] / "test")["model"]["init_args"]["lr"] == 0.7


def test_the_checkpoint_brings_the_weights() -> None:
    config = written(CONFIG.replace("max_epochs: 1", "max_epochs: 60"))
    main(["fit", "--config", config])
    (checkpoint,) = (runs()[0] / "checkpoints").glob("*.ckpt")
    main(["test", "--config", config, "--ckpt_path", str(checkpoint)])
    main(["test", "--config", config])
    trained, untrained = runs()[0] / "test", Path("runs/boring/test")
    assert metric(trained, "test/loss") < 0.2 * metric(untrained, "test/loss")


@pytest.mark.parametrize("content", [None, b"no checkpoint"])
def test_a_bad_checkpoint_is_told(content: bytes | None) -> None:
    if content is not None:
        Path("bad.ckpt").write_bytes(content)
    told = complaint("test", "--config", written(CONFIG), "--ckpt_path", "bad.ckpt")
    assert "bad.ckpt" in told
    assert "checkpoint" in told


def test_wandb_is_offline_without_key_and_holds_the_nested_config(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    monkeypatch.setenv("WANDB_MODE", "")  # so that monkeypatch undoes what the command sets
    logger = TrainerCLI(["fit", "--config", written(CONFIG + WANDB)]).trainer.loggers[1]
    assert isinstance(logger, WandbLogger)
    (offline,) = Path("runs/wandb").glob("offline-run-*")
    held = dict(logger.experiment.config)
    assert held["model"]["init_args"] == {"lr": 0.05, "width": 2}
    assert held["data"]["class_path"] == "tests.boring.BoringData"
    assert held["trainer"]["max_epochs"] == 1
    assert not {"lr", "width", "size", "_instantiator", "_class_path"} & set(held)
    assert list(offline.glob("run-*.wandb"))
    config = (runs()[0] / "config.yaml").read_bytes()
    staged = [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]
    assert config in {path.read_bytes() for path in staged}
    assert saved(runs()[0])["model"] == held["model"]


def test_a_bad_record_is_one_sentence_from_a_worker_process_too(tmp_path: Path) -> None:
    images = identities(range(2), 4, side=16)
    images[1][2] = b"no jpeg"
    write_record_dataset(tmp_path / "set", images, height=16, width=16)
    words = ["fit", "--model", "FaceRecognizer", "--data", "FaceDataModule"]
    for name, value in {
        "model.backbone": "IResNet",
        "model.backbone.layers": "[1,1,1,1]",
        "model.backbone.width": "2",
        "model.backbone.image_size": "16",
        "model.head": "ArcFace",
        "data.train": str(tmp_path / "set"),
        "data.image_size": "16",
        "data.batch_size": "4",
        "data.num_workers": "1",
        "trainer.accelerator": "cpu",
        "trainer.logger": "false",
        "trainer.default_root_dir": str(tmp_path),
        "trainer.max_epochs": "1",
    }.items():
        words += [f"--{name}", value]
    with pytest.raises(SystemExit) as ended:
        main(words)
    complaint = str(ended.value)
    assert complaint.startswith(f"qdgs: Record 7 of {tmp_path / 'set' / 'train.rec'} is bad")
    assert complaint.endswith("set on_bad_record to skip.")
    assert "Traceback" not in complaint
