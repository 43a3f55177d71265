"""Commands that cannot succeed end before W&B opens a run and before there is a run folder."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from qdgs_lightning.cli.main import main
from qdgs_lightning.models import IResNet
from tests.cli.test_main import CONFIG, WANDB, complaint, runs, written
from tests.faces import jpegs, portraits
from tests.trainer.test_trainer_cli import FACES

FIT = (
    FACES.replace(
        "init_args:\n    backbone", "init_args:\n    head: {class_path: ArcFace}\n    backbone"
    )
    .replace("predict: photos", "train: photos, batch_size: 4")
    .replace("  logger: {", "  max_epochs: 1\n  logger:\n  - {")
    + WANDB
)
GENERATOR = """{
    class_path: SyntheticFaceDataModule, init_args: {
        generator: {class_path: StyleGAN2Generator, init_args: {checkpoint: none.pkl}},
        guidance: {class_path: tests.toys.ToyGuidance},
        sampler: {class_path: PriorSampler, init_args: {evaluations: 8, bins: [{
            measure: 0, intervals: [[-.inf, 0.0], [0.0, .inf]]}]}},
        identities: 4, align: none, image_size: 32, batch_size: 4, num_workers: 0}}"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["qdgs"])
    monkeypatch.setenv("WANDB_MODE", "offline")


def photos() -> None:
    for person in range(2):
        folder = Path("photos") / str(person)
        folder.mkdir(parents=True)
        for index, image in enumerate(jpegs(portraits(person, 4, side=32))):
            (folder / f"{index}.jpg").write_bytes(image)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data.init_args.train", "none"], "/none: bring it, or set `data.init_args.train`"),
        (["--data", GENERATOR], "/none.pkl: bring it, or correct `checkpoint` of"),
        (["--model.init_args.init_from", "none.pt"], "/none.pt: bring it, or correct the path"),
        (["--ckpt_path", "none.ckpt"], "/none.ckpt': runs keep theirs in"),
        (["--ckpt_path", "last"], "There is no checkpoint 'last' in the new folder of this run"),
        (["--data.init_args.image_size", "16"], "image_size: the data are brought to 16 pixels"),
        (
            ["--data.init_args.benchmarks", ".", "--data.init_args.validate_on", "[bad]"],
            "bad.bin",
        ),
        (["--data.init_args.batch_size", "9"], "too few for a batch of 9"),
    ],
)
def test_a_fit_that_lacks_something_leaves_nothing(words: list[str], told: str) -> None:
    photos()
    Path("bad.bin").write_bytes(b"no benchmark")
    assert told in complaint("fit", "--config", written(FIT), *words)
    assert not Path("runs").exists()


NO_BENCHMARKS = ["--data.init_args.benchmarks", "none"]


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        ("test", [*NO_BENCHMARKS, "--data.init_args.test_on", "[lfw]"], "None of lfw is in none"),
        (
            "validate",
            [*NO_BENCHMARKS, "--data.init_args.validate_on", "[lfw]"],
            "None of lfw is in none",
        ),
        ("predict", [], "Nothing to embed: set `data.init_args.predict`"),
        ("predict", ["--data.init_args.predict", "none"], "none"),
        ("predict", ["--data", "tests.boring.BoringData"], "BoringData has nothing to predict"),
        *(
            (command, [option, file], told)
            for command in ("validate", "test", "predict")
            for option, file, told in (
                ("--model.init_args.init_from", "none.pt", "/none.pt: bring it, or correct"),
                ("--model.init_args.init_from", "bad.pt", "bad.pt"),
                ("--ckpt_path", "none.ckpt", "/none.ckpt': runs keep theirs in"),
                ("--ckpt_path", "bad.pt", "bad.pt"),
            )
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:No checkpoint was given", "ignore:These verification sets")
def test_a_look_that_lacks_something_leaves_nothing(
    command: str, words: list[str], told: str
) -> None:
    photos()
    Path("bad.pt").write_bytes(b"no weights")
    assert told in complaint(command, "--config", written(FIT), *words)
    assert not Path("runs").exists()


def test_a_checkpoint_is_looked_at_without_the_file_that_its_fit_began_with() -> None:
    photos()
    backbone = IResNet(layers=[1, 1, 1, 1], width=2, embedding_dim=8, image_size=32)
    weights = {f"backbone.{name}": each for name, each in backbone.state_dict().items()}
    torch.save({"state_dict": weights}, "first.ckpt")
    main(["fit", "--config", written(FIT), "--model.init_args.init_from", "first.ckpt"])
    Path("first.ckpt").unlink()
    (path,) = runs()[0].glob("checkpoints/*.ckpt")
    words = ["--config", str(runs()[0] / "config.yaml"), "--ckpt_path", str(path)]
    main(["predict", *words, "--data.init_args.predict", "photos"])
    kept = yaml.safe_load((runs()[0] / "predict" / "config.yaml").read_text())
    assert kept["model"]["init_args"]["init_from"] == "first.ckpt"  # as it was said


def test_weights_alone_are_no_checkpoint_to_go_on_from() -> None:
    main(["fit", "--config", written(CONFIG)])
    (path,) = runs()[0].glob("checkpoints/*.ckpt")
    whole = torch.load(path, weights_only=True)
    del whole["optimizer_states"], whole["lr_schedulers"]
    torch.save(whole, "weights.ckpt")
    told = complaint("fit", "--config", "config.yaml", "--ckpt_path", "weights.ckpt")
    assert told.startswith("qdgs: 'weights.ckpt' holds weights alone (save_weights_only)")
    assert "`model.init_args.init_from`" in told
    assert len(runs()) == 1
    with pytest.raises(SystemExit):
        main(
            [
                "doctor",
                "--config",
                "config.yaml",
                "--ckpt_path",
                "weights.ckpt",
                "--probe_seconds=0",
            ]
        )


def test_the_last_checkpoint_of_a_folder_that_is_used_again_is_found() -> None:
    used = CONFIG.replace("name: boring", "name: boring, version: version_0")
    saving = "  callbacks: [{class_path: ModelCheckpoint, init_args: {save_last: true}}]\n"
    words = ["fit", "--config", written(used + saving)]
    main(words)
    main([*words, "--ckpt_path", "last", "--trainer.max_epochs", "2"])
    last = torch.load("runs/boring/version_0/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    assert last["global_step"] == 4
