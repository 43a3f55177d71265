"""Fairness of groups while a recogniser trains: its numbers, its curve and its resume."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from qdgs_lightning.datamodules import FaceAugmentation, FaceDataModule
from qdgs_lightning.metrics import group_verification, verification_accuracy
from qdgs_lightning.models import ArcFace
from qdgs_lightning.reporting.face_fairness import FairnessHistory, Record, fairness_scalars
from qdgs_lightning.tasks import FaceRecognizer
from tests.faces import write_benchmark, write_training_set
from tests.tasks.test_face_recognition import embedded, sgd, small, trainer

GROUPS = ["rfw_asian", "rfw_indian"]
MERGE = {"dark": ["rfw_indian"], "light": ["rfw_asian"]}


@pytest.fixture
def data(tmp_path: Path) -> FaceDataModule:
    """Four identities, and a benchmark that is no group beside two that are."""
    write_training_set(tmp_path / "set")
    for name, first in (("lfw", 10), ("rfw_asian", 20), ("rfw_indian", 30)):
        write_benchmark(tmp_path / f"{name}.bin", range(first, first + 6))
    return FaceDataModule(
        train=tmp_path / "set",
        benchmarks=tmp_path,
        validate_on=["lfw", *GROUPS],
        merge=MERGE,
        augmentation=FaceAugmentation(flip=0, crop=0, low_resolution=0, photometric=0),
        batch_size=8,
        eval_batch_size=40,
        num_workers=0,
        image_size=32,
    )


def fit(
    folder: Path, data: FaceDataModule, epochs: int, checkpoint: Path | None = None, **options: Any
) -> tuple[Trainer, FaceRecognizer]:
    torch.manual_seed(0)
    recognizer = FaceRecognizer(backbone=small(), head=ArcFace, optimizer=sgd)
    ours = trainer(folder, max_epochs=epochs, num_sanity_val_steps=1, **options)
    ours.fit(recognizer, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return ours, recognizer


def figures(folder: Path, version: int) -> set[str]:
    found = (folder / "run" / f"version_{version}").glob("figures/*")
    return {path.name for path in found}


def test_groups_are_compared_in_every_validation(tmp_path: Path, data: FaceDataModule) -> None:
    ours, recognizer = fit(tmp_path, data, 2)
    found = {name: embedded(recognizer.backbone, tmp_path / f"{name}.bin") for name in GROUPS}
    accuracies = {name: verification_accuracy(*pairs).accuracy for name, pairs in found.items()}
    logged = {key: float(value) for key, value in ours.callback_metrics.items()}
    own = {key.removeprefix("val/rfw/own/"): v for key, v in logged.items() if "own" in key}
    worst, best = sorted(accuracies.values())
    truth = {
        "mean": (worst + best) / 2,
        "worst": worst,
        "disparate_impact": worst / best,
        "dark": accuracies["rfw_indian"],
        "light": accuracies["rfw_asian"],
        "dark_to_light": accuracies["rfw_indian"] / accuracies["rfw_asian"],
    }
    assert own == pytest.approx(truth)
    # The same as in the report of a test.
    tested = group_verification(
        torch.cat([distances for distances, _ in found.values()]),
        torch.cat([same for _, same in found.values()]),
        torch.tensor([0, 1]).repeat_interleave(40),
        names=GROUPS,
        num_bootstrap=0,
    )
    assert own["disparate_impact"] == pytest.approx(tested.own.disparate_impact.value)
    records = recognizer.fairness.records
    assert list(records) == ["rfw"]
    assert [record["epoch"] for record in records["rfw"]] == [1, 2]  # nothing of the sanity check
    assert records["rfw"][-1]["accuracies"] == pytest.approx(accuracies)
    assert figures(tmp_path, 0) == {f"val-rfw-fairness_step{ours.global_step:07d}.png"}
    # Outside of a fit nothing is added.
    trainer(tmp_path).validate(recognizer, datamodule=data, verbose=False)
    assert len(recognizer.fairness.records["rfw"]) == 2


@pytest.mark.parametrize("names", [["lfw", *GROUPS], GROUPS], ids=len)
def test_means_are_of_what_is_no_group_or_of_groups_alone(
    tmp_path: Path, data: FaceDataModule, names: list[str]
) -> None:
    data.validate_on = data.test_on = tuple(names)
    recognizer = FaceRecognizer(backbone=small(), num_bootstrap=0)
    ours = trainer(tmp_path)
    validated = ours.validate(recognizer, datamodule=data, verbose=False)[0]
    tested = ours.test(recognizer, datamodule=data, verbose=False)[0]
    found = {
        name: verification_accuracy(*embedded(recognizer.backbone, tmp_path / f"{name}.bin"))
        for name in names
    }
    averaged = ["lfw"] if "lfw" in names else GROUPS
    truth = sum(found[name].accuracy for name in averaged) / len(averaged)
    kept = json.loads((tmp_path / "run" / "version_0" / "verification.json").read_text())
    for mean in (validated["val/mean"], tested["test/mean"], kept["mean"]):
        assert mean == pytest.approx(truth)
    assert found["rfw_asian"].accuracy != pytest.approx(truth)


def test_a_resumed_fit_goes_on_with_the_curve(tmp_path: Path, data: FaceDataModule) -> None:
    _, whole = fit(tmp_path, data, 2, val_check_interval=0.5)
    half, _ = fit(tmp_path, data, 1, val_check_interval=0.5)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed_by, resumed = fit(tmp_path, data, 2, tmp_path / "half.ckpt", val_check_interval=0.5)
    epochs = [record["epoch"] for record in resumed.fairness.records["rfw"]]
    assert epochs == [0.5, 1, 1.5, 2]
    assert resumed.fairness.records == whole.fairness.records
    # A fit from the beginning has a curve of its own.
    resumed_by.fit_loop.epoch_progress.reset()
    trainer(tmp_path, max_epochs=1).fit(resumed, datamodule=data)
    assert [record["epoch"] for record in resumed.fairness.records["rfw"]] == [1]


def test_without_groups_there_is_no_curve(tmp_path: Path, data: FaceDataModule) -> None:
    data.validate_on = ("lfw", "rfw_asian")  # one group alone has nothing to be compared with
    ours, recognizer = fit(tmp_path, data, 1)
    assert not [key for key in ours.callback_metrics if "own" in key]
    assert recognizer.fairness.records == {}
    assert figures(tmp_path, 0) == set()


def test_a_test_shows_bars_and_a_table(
    tmp_path: Path, data: FaceDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    data.test_on = data.validate_on
    wandb_logger = WandbLogger(save_dir=tmp_path)
    ours = trainer(tmp_path, logger=[CSVLogger(tmp_path, name="run"), wandb_logger])
    ours.test(FaceRecognizer(backbone=small(), num_bootstrap=0), datamodule=data, verbose=False)
    assert figures(tmp_path, 0) == {
        "test-rfw-groups_step0000000.png",
        "test-roc_step0000000.png",
    }
    with (tmp_path / "run" / "version_0" / "verification.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    (path,) = Path(wandb_logger.experiment.dir).glob("media/table/test/benchmarks_*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == header
    assert [row[0] for row in table["data"]] == ["lfw", *GROUPS]
    for shown, kept in zip(table["data"], rows, strict=True):
        assert shown[1:] == [float(cell) if cell else None for cell in kept[1:]]


def test_two_sides_have_a_ratio_and_more_have_none() -> None:
    accuracies = {"a": 0.9, "b": 0.6, "c": 0.8}
    found = fairness_scalars(accuracies, {"left": 0.9, "right": 0.7, "middle": 0.8})
    assert found == pytest.approx(
        {
            "mean": 2.3 / 3,
            "worst": 0.6,
            "disparate_impact": 2 / 3,
            "left": 0.9,
            "right": 0.7,
            "middle": 0.8,
        }
    )
    # As published, the first by the second, also where that is above 1.
    found = fairness_scalars(accuracies, {"left": 0.9, "right": 0.6})
    assert found["left_to_right"] == pytest.approx(1.5)


def test_measurements_of_other_groups_begin_a_new_curve() -> None:
    history = FairnessHistory()
    for epoch, names in ((1, "ab"), (2, "ba"), (3, "abc"), (4, "abc")):
        accuracies = dict.fromkeys(names, 0.5)
        record = Record(epoch=epoch, accuracies=accuracies, scalars={"disparate_impact": 1.0})
        history.add("race", record)
        if epoch > 3:
            history.add("age", record)
    assert [record["epoch"] for record in history.records["race"]] == [3, 4]
    assert [record["epoch"] for record in history.records["age"]] == [4]
