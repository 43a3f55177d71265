"""Training, testing, checkpoints and resumption of the shapes task."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from qdgs_lightning.callbacks import QDRefresh
from qdgs_lightning.domains.shapes import (
    ShapeClassification,
    ShapeClassifier,
    ShapesDataModule,
    ShapesDataset,
)
from qdgs_lightning.sampling import ArchiveSampler
from qdgs_lightning.search import SearchConfig
from qdgs_lightning.utils.seeding import HELD_OUT
from tests.patches import SHAPE_AND_COLOUR, PatchGenerator, PatchGuidance


def _trainer(folder: Path, *, max_epochs: int, validation: bool = False) -> Trainer:
    search = SearchConfig(
        grid=(6, 6), algorithm="map_elites", calibration=60, emitters=1, batch_size=20
    )
    return Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        reload_dataloaders_every_n_epochs=1,
        limit_val_batches=1 if validation else 0,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[
            QDRefresh(search=search, evaluations=80, every_n_epochs=2, refresh_evaluations=40),
            ModelCheckpoint(folder, save_top_k=-1, filename="{epoch}"),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _task() -> ShapeClassification:
    torch.manual_seed(0)
    return ShapeClassification(classifier=ShapeClassifier(hidden=4))


def _data() -> ShapesDataModule:
    return ShapesDataModule(
        second_phase="pool",
        real_epochs=1,
        samples_per_epoch=16,
        batch_size=8,
        generator=PatchGenerator(),
        guidance=PatchGuidance(),
        sampler=ArchiveSampler(bins=SHAPE_AND_COLOUR),
    )


# With a validation, checkpoints are written after it and so before the refresh of the epoch.
@pytest.mark.parametrize(
    ("stopped_after", "validation"), [(1, False), (2, False), (3, False), (2, True)]
)
def test_resumed_fit_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, stopped_after: int, validation: bool
) -> None:
    whole, second = _task(), _task()
    _trainer(tmp_path / "whole", max_epochs=5, validation=validation).fit(whole, _data())
    checkpoint = tmp_path / "whole" / f"epoch={stopped_after - 1}.ckpt"
    _trainer(tmp_path / "second", max_epochs=5, validation=validation).fit(
        second, _data(), ckpt_path=str(checkpoint), weights_only=True
    )
    at_end = whole.state_dict()
    for name, value in second.state_dict().items():
        assert torch.equal(value, at_end[name]), name
    at_the_stop = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert any(not torch.equal(value, at_the_stop[name]) for name, value in at_end.items())


def test_group_accuracies_are_those_of_the_classifier(tmp_path: Path) -> None:
    task = _task()
    trainer = _trainer(tmp_path, max_epochs=1)
    (logged,) = trainer.test(task, ShapesDataModule(seed=7), verbose=False)
    # Large, unbiased, and the same whatever the datamodule's seed.
    true = ShapesDataset(5000, bias=0.5, seed=HELD_OUT + 1)
    assert torch.bincount(2 * true.shapes + true.colours).tolist() == [1250] * 4
    with torch.no_grad():
        batches = true.images.float().div_(255).chunk(10)
        predicted = torch.cat([task(images).argmax(1) for images in batches])
    right = (predicted == true.shapes).double()
    groups = {
        "test/red_triangle": (0, 0),
        "test/blue_triangle": (0, 1),
        "test/red_square": (1, 0),
        "test/blue_square": (1, 1),
    }
    expected = {
        name: float(right[(true.shapes == shape) & (true.colours == colour)].mean())
        for name, (shape, colour) in groups.items()
    }
    values = list(expected.values())
    expected |= {
        "test/balanced": sum(values) / 4,
        "test/worst": min(values),
        "test/gap": max(values) - min(values),
    }
    assert logged == pytest.approx(expected, abs=1e-6)


def test_validation_is_of_an_unbiased_set_of_its_own(tmp_path: Path) -> None:
    task = _task()
    trainer = _trainer(tmp_path, max_epochs=1, validation=True)
    (logged,) = trainer.validate(task, ShapesDataModule(seed=7), verbose=False)
    true = ShapesDataset(500, bias=0.5, seed=HELD_OUT)
    images, shapes = true.images[:250].float() / 255, true.shapes[:250]
    with torch.no_grad():
        logits = task(images)
    right = (logits.argmax(1) == shapes).double()
    groups = 2 * shapes + true.colours[:250]
    accuracies = [float(right[groups == group].mean()) for group in range(4)]
    assert logged == pytest.approx(
        {
            "val/loss": float(torch.nn.functional.cross_entropy(logits, shapes)),
            "val/acc": sum(accuracies) / 4,
            "val/balanced": sum(accuracies) / 4,
            "val/worst": min(accuracies),
            "val/gap": max(accuracies) - min(accuracies),
            "val/red_triangle": accuracies[0],
            "val/blue_triangle": accuracies[1],
            "val/red_square": accuracies[2],
            "val/blue_square": accuracies[3],
        },
        abs=1e-5,
    )


def test_checkpoints_load_without_unpickling_anything(tmp_path: Path) -> None:
    task = _task()
    _trainer(tmp_path, max_epochs=2).fit(task, _data())
    loaded = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)
    assert loaded["epoch"] == 1
    restored = ShapeClassification.load_from_checkpoint(
        tmp_path / "epoch=1.ckpt", classifier=ShapeClassifier(hidden=4), weights_only=True
    )
    for name, value in task.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name])


def test_optimizer_is_the_one_that_was_given() -> None:
    task = ShapeClassification(optimizer=torch.optim.Adagrad)
    assert isinstance(task.configure_optimizers(), torch.optim.Adagrad)
