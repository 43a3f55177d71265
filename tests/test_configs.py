"""Every shipped configuration, through the command line: on trial, in short, resumed, grown."""

import csv
import hashlib
import json
import logging
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
import yaml

import qdgs_lightning
from qdgs_lightning.cli.main import main
from qdgs_lightning.generators import ImplicitGenerator
from qdgs_lightning.search import Archive, SearchConfig
from tests.config_cases import CPU, FACES, FITS, QD, SEARCHES, TESTS
from tests.faces import write_face_files

CONFIGS = Path(__file__).parents[1] / "configs"
PACKAGE = Path(qdgs_lightning.__file__).parent


def file_of(name: str) -> Path:
    return CONFIGS / f"{name}.yaml"


def content(path: Path) -> dict[str, Any]:
    config = yaml.safe_load(path.read_text())
    assert isinstance(config, dict)
    return config


def callbacks(name: str) -> dict[str, dict[str, Any]]:
    """Arguments of a configuration's callbacks, by class."""
    listed = content(file_of(name)).get("trainer", {}).get("callbacks", [])
    return {entry["class_path"]: entry.get("init_args", {}) for entry in listed}


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def digests() -> dict[str, str]:
    """What the package consists of, its configurations included."""
    paths = [path for path in PACKAGE.rglob("*") if path.is_file()]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.suffix in (".json", ".safetensors", ".yaml")
    }


def columns(run: Path) -> dict[str, list[float]]:
    """The metrics of a run, empty fields left out."""
    values: dict[str, list[float]] = {}
    with (run / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value:
                    values.setdefault(name, []).append(float(value))
    return values


class Workplace:
    """A folder per configuration, and its short run in there, which tests share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str, purpose: str) -> Path:
        """Make a folder with nothing but what the configuration reads, such as a checkpoint."""
        folder = self.root / purpose / name
        folder.mkdir(parents=True)
        after = FITS[name].after if name in FITS else None
        if name in FITS and (make := FITS[name].files) is not None:
            make(folder)
        if after is not None:
            wanted = folder / content(file_of(name))["model"]["init_args"]["init_from"]
            wanted.parent.mkdir(parents=True)
            shutil.copy(self.short(after) / "checkpoints" / "last.ckpt", wanted)
        return folder

    def short(self, name: str) -> Path:
        """Run two epochs, unless that is done, and return the run folder."""
        folder = self.root / "short" / name
        if not folder.exists():
            fit(name, self.folder(name, "short"), {"trainer.max_epochs": "2"})
        return folder / "runs" / (FITS[name].over or name) / "version_0"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("configs"))


def run(command: str, names: list[str], folder: Path, options: dict[str, str]) -> None:
    """Run a command in a folder, W&B's copies beside it."""
    words = [word for name in names for word in ("--config", str(file_of(name)))]
    words += [word for option, value in options.items() for word in (f"--{option}", value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(folder.parent / f"staging_{folder.name}"))
        patch.chdir(folder)
        wandb.teardown()  # its service writes into the folder that it was started in
        try:
            main([command, *words])
        finally:
            wandb.teardown()


def fit(name: str, folder: Path, options: dict[str, str]) -> None:
    """Train as a configuration says, but smaller."""
    over = FITS[name].over
    run("fit", [*([over] if over else []), name], folder, CPU | FITS[name].small | options)


def test_every_configuration_is_tried_here() -> None:
    assert {path.stem for path in CONFIGS.iterdir()} == {*FITS, *SEARCHES, *TESTS}
    assert {path.suffix for path in CONFIGS.iterdir()} == {".yaml"}
    exporting = {name for name in FITS if "ExportWeights" in callbacks(name)}
    assert exporting == {name for name, case in FITS.items() if case.exports}


@pytest.mark.parametrize("name", [name for name in FITS if FITS[name].exports])
def test_a_schedule_ends_with_the_training(name: str) -> None:
    config = content(file_of(name))
    schedule = config["model"]["init_args"].get("scheduler", {"init_args": {}})["init_args"]
    steps = config["trainer"]["max_epochs"] * config["data"]["init_args"]["batches_per_epoch"]
    assert schedule.get("total_steps", steps) == steps


@pytest.mark.parametrize("name", FITS)
def test_a_trial_run_takes_one_step_and_leaves_nothing(
    workplace: Workplace,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    folder = workplace.folder(name, "trial")
    capsys.readouterr()
    before, shipped = files(folder), digests()
    lightning = logging.getLogger("lightning.pytorch")  # keeps its messages from other loggers
    lightning.addHandler(caplog.handler)
    try:
        # So that what the second phase needs is tried as well.
        phase = {"data.init_args.real_epochs": "0"} if "real_epochs" in str(FITS[name]) else {}
        fit(name, folder, {"trainer.fast_dev_run": "true", **phase})
    finally:
        lightning.removeHandler(caplog.handler)
    assert "`max_steps=1` reached" in caplog.text
    assert ("Pool of" in caplog.text) == ("pool/evaluated" in FITS[name].logs)
    assert digests() == shipped
    assert files(folder) == before
    assert "Test it" not in capsys.readouterr().out


@pytest.mark.parametrize("name", FITS)
def test_a_short_run_keeps_config_metrics_and_an_offline_wandb_run(
    workplace: Workplace, name: str
) -> None:
    shipped = digests()
    folder = workplace.short(name)
    assert digests() == shipped
    config = content(folder / "config.yaml")
    assert config["trainer"]["max_epochs"] == 2
    assert config["data"]["init_args"]["batch_size"] == 4
    assert config["seed_everything"] == content(file_of(FITS[name].over or name))["seed_everything"]
    values = columns(folder)
    assert set(FITS[name].logs) <= set(values)
    assert all(math.isfinite(value) for column in values.values() for value in column)
    assert set(values["epoch"]) == {0, 1}
    (offline,) = (folder.parents[1] / "wandb").glob("offline-run-*")
    assert list(offline.glob("run-*.wandb"))


@pytest.mark.parametrize("name", FITS)
def test_a_resumed_run_goes_on_where_the_first_one_stopped(workplace: Workplace, name: str) -> None:
    first = workplace.short(name)
    folder = workplace.root / "resumed" / name
    shutil.copytree(workplace.root / "short" / name, folder)
    checkpoint = first.relative_to(workplace.root / "short" / name) / "checkpoints" / "last.ckpt"
    fit(name, folder, {"trainer.max_epochs": "3", "ckpt_path": str(checkpoint)})
    second = folder / checkpoint.parents[2] / "version_1"
    old, new = columns(first), columns(second)
    assert min(new["step"]) > max(old["step"])
    assert set(new["epoch"]) == {2}
    steps = [
        torch.load(path, weights_only=True)["global_step"]
        for path in (folder / checkpoint, second / "checkpoints" / "last.ckpt")
    ]
    assert min(steps) > 0
    assert 2 * steps[1] == 3 * steps[0]  # after three epochs and after two
    assert content(second / "config.yaml")["ckpt_path"] == str(checkpoint)


@pytest.mark.parametrize("name", [name for name, case in FITS.items() if case.exports])
def test_exported_weights_load_and_are_those_of_the_checkpoint(
    workplace: Workplace, name: str
) -> None:
    folder, exports = workplace.short(name), FITS[name].exports
    assert exports is not None
    attribute, load = exports
    arguments = callbacks(name)["ExportWeights"]
    path = folder / f"{arguments['name']}.safetensors"
    module = load(path)
    # With averaged weights, a checkpoint holds the averaged ones here.
    trained = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for key, value in module.state_dict().items():
        if key == "mapping.w_avg":
            continue  # measured when the file is written
        expected = trained[f"{attribute}.{key}"]
        assert torch.equal(value, expected.half().to(value.dtype)), key


@pytest.mark.parametrize("name", [name for name in FITS if FITS[name].small is QD])
def test_a_qd_run_keeps_its_archive_and_shows_it(workplace: Workplace, name: str) -> None:
    folder = workplace.short(name)
    archive = Archive.load(folder / "archive.safetensors")
    assert archive.metadata.evaluations == columns(folder)["qd/evaluations"][-1] == 64
    assert archive.metadata.algorithm == "screened"
    weights = "shapes_generator_098" if name == "shapes_rare" else "shapes_generator_090"
    generator = ImplicitGenerator(weights)
    generator.prepare()
    assert archive.metadata.generator == generator.fingerprint()
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    assert figures == [
        f"qd-{figure}_step{step:07d}.png"
        for figure in ("archive_heatmap", "elite_grid")
        for step in (0, 2)
    ]


@pytest.mark.parametrize("name", TESTS)
def test_a_test_reports_what_a_fit_learnt(workplace: Workplace, name: str) -> None:
    checkpoint = workplace.short(TESTS[name]) / "checkpoints" / "last.ckpt"
    folder = workplace.folder(name, "test")
    write_face_files(folder)
    options = CPU | FACES | {"ckpt_path": str(checkpoint)}
    with pytest.warns(UserWarning, match=r"left out, since there is no .*cfp_fp\.bin"):
        run("test", [name], folder, options)
    report = json.loads((checkpoint.parents[1] / "test" / "verification.json").read_text())
    validated = columns(checkpoint.parents[1])["val/lfw"][-1]
    assert report["benchmarks"]["lfw"]["accuracy"] == pytest.approx(validated)
    predict = {"data.init_args.predict": "data/faces_webface_112x112"}
    run("predict", [name], folder, options | predict)
    with (checkpoint.parents[1] / "predict" / "embeddings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert " ".join(r["name"] + r["identity"] for r in rows) == "10 20 30 40 51 61 71 81"


@pytest.mark.slow  # the first of all CMA-ES compiles itself
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_fills_an_archive_and_grows_it(workplace: Workplace, name: str) -> None:
    folder, config = workplace.folder(name, "search"), content(file_of(name))
    small = {f"search.{key}": value for key, value in SEARCHES[name].items()}
    small |= {"search.calibration": "48", "accelerator": "cpu"}
    path = folder / config["output"]
    archives = []
    for evaluations in (64, 96):
        run("search", [name], folder, {**small, "evaluations": str(evaluations)})
        assert {path.relative_to(folder)} == files(folder)
        archives.append(Archive.load(path))
        assert archives[-1].metadata.evaluations == evaluations
        assert archives[-1].metadata.algorithm == config["search"]["algorithm"]
        assert archives[-1].metadata.grid == tuple(config["search"]["grid"])
    first, grown = archives
    assert grown.metadata.ranges == first.metadata.ranges
    assert set(first.cell.tolist()) <= set(grown.cell.tolist())
    assert grown.stats.qd_score > first.stats.qd_score


def printed_config(capsys: pytest.CaptureFixture[str], command: str, *names: str) -> Any:  # noqa: ANN401
    """What configurations, laid over each other, come to."""
    words = [word for name in names for word in ("--config", str(file_of(name)))]
    with pytest.raises(SystemExit) as ended:
        main([command, *words, "--print_config"])
    assert ended.value.code in (None, 0)
    return yaml.safe_load(capsys.readouterr().out)


def test_published_searches_are_as_published(capsys: pytest.CaptureFixture[str]) -> None:
    printed = printed_config(capsys, "search", "shapes_search_published")["search"]
    published = asdict(SearchConfig.published(grid=(50, 50)))
    assert printed == json.loads(json.dumps(published))
    config = printed_config(capsys, "fit", "faces_qd50", "faces_published_search")
    refresh = config["trainer"]["callbacks"][-1]["init_args"]
    published = asdict(SearchConfig.published(grid=(50, 25, 5, 25)))
    assert refresh["search"] == json.loads(json.dumps(published))
    assert (refresh["evaluations"], refresh["every_n_epochs"]) == (240_000, None)


def test_arms_of_faces_differ_in_nothing_but_the_latents() -> None:
    qd, rand = (content(file_of(name)) for name in ("faces_qd50", "faces_rand50"))
    assert qd["model"] == rand["model"] == content(file_of("faces_casia"))["model"]
    for arm in (qd, rand):
        arguments = arm["data"]["init_args"]
        arguments["bins"] = arguments.pop("sampler")["init_args"]["bins"]
    assert qd["data"] == rand["data"]
    for name in ("max_epochs", "precision", "reload_dataloaders_every_n_epochs"):
        assert qd["trainer"][name] == rand["trainer"][name]


def test_the_annotator_s_own_errors_are_reported(tmp_path: Path) -> None:
    words = {
        "model.init_args.weights": "shapes_annotator",
        "data.init_args.validation_batches": "4",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    run("test", ["shapes_annotator"], folder, CPU | words)
    folder = folder / "runs" / "shapes_annotator" / "test"
    values = columns(folder)
    # 256 images that no training saw.
    assert values["test/shape_accuracy"][-1] > 0.95
    assert values["test/colour_accuracy"][-1] > 0.95
    assert (folder / "figures" / "test-confusion_step0000000.png").stat().st_size > 1000
