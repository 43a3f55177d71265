"""Phases of the shapes data, and what ranks draw."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import cast

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from qdgs_lightning.datamodules import DataModuleError, LatentBatch
from qdgs_lightning.domains.shapes import ShapeClassification, ShapesDataModule, ShapesDataset
from qdgs_lightning.domains.shapes.datamodule import SecondPhase
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.sampling import (
    ArchiveSampler,
    MeasureBins,
    RejectionSampler,
)
from qdgs_lightning.utils.seeding import seeded_generator
from tests.patches import SHAPE_AND_COLOUR, PatchGenerator, PatchGuidance


class _Recorder(Callback):
    """Keeps what a rank saw, in a file at the end of every epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batches: list[list[Tensor]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: list[Tensor], batch_idx: int
    ) -> None:
        self.batches.append([part.clone() for part in batch])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = [torch.cat(parts) for parts in zip(*self.batches, strict=True)]
        torch.save(epoch, self.folder / f"{trainer.current_epoch}-{trainer.global_rank}.pt")
        self.batches.clear()


def _data(second_phase: SecondPhase = "pool") -> ShapesDataModule:
    return ShapesDataModule(
        bias=0.9,
        second_phase=second_phase,
        real_epochs=1,
        samples_per_epoch=24,
        batch_size=8,
        generator=PatchGenerator(),
        guidance=PatchGuidance(),
        sampler=RejectionSampler(bins=SHAPE_AND_COLOUR, evaluations=200),
        seed=3,
    )


def _fit(folder: Path, data: ShapesDataModule, *, devices: int = 1) -> None:
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        max_epochs=3,
        reload_dataloaders_every_n_epochs=1,
        limit_val_batches=0,
        callbacks=[_Recorder(folder)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(ShapeClassification(classifier=_Tiny()), data)


class _Tiny(nn.Module):
    """Two logits of the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.layer(images.mean((2, 3))))


def _seen(folder: Path, epoch: int, rank: int = 0) -> list[Tensor]:
    seen: list[Tensor] = torch.load(folder / f"{epoch}-{rank}.pt")
    return seen


def _halves(images: Tensor) -> set[tuple[int, int]]:
    """Read the two greys off each image, in millionths."""
    greys = (images[:, 0, 0, [0, -1]] * 1e6).round().int().tolist()
    return {(left, right) for left, right in greys}


def _sorted(images: Tensor) -> Tensor:
    """Order images by a number that tells them apart."""
    weights = torch.rand(images[0].shape, generator=torch.Generator().manual_seed(0))
    return images[(images * weights).sum((1, 2, 3)).argsort()]


def test_first_phase_is_the_biased_set_in_bytes_made_floats(tmp_path: Path) -> None:
    _fit(tmp_path, _data())
    images, shapes, colours = _seen(tmp_path, 0)
    true = ShapesDataset(24, bias=0.9, seed=6)
    assert images.dtype == torch.float32
    assert torch.equal(_sorted(images), _sorted(true.images.float() / 255))
    groups = torch.bincount(2 * shapes + colours, minlength=4)
    assert groups.tolist() == [11, 1, 1, 11]


def test_second_phase_is_what_the_generator_draws_of_the_pool(tmp_path: Path) -> None:
    data = _data()
    _fit(tmp_path, data)
    for epoch in (1, 2):
        images, shapes, colours = _seen(tmp_path, epoch)
        pool = data.pool(epoch)
        with torch.no_grad():
            torch.testing.assert_close(images, PatchGenerator()(pool.latents))
        left, right = images[:, 0, 0, 0], images[:, 0, 0, -1]
        assert torch.equal(shapes, (right >= left).long())
        assert torch.equal(colours, (left + right >= 1).long())
        assert torch.bincount(2 * shapes + colours).tolist() == [6, 6, 6, 6]
    assert not torch.equal(_seen(tmp_path, 1)[0], _seen(tmp_path, 2)[0])


@pytest.mark.parametrize(
    ("second_phase", "groups"), [("real", [11, 1, 1, 11]), ("oracle", [6] * 4)]
)
def test_other_arms_take_as_many_real_images(
    tmp_path: Path, second_phase: SecondPhase, groups: list[int]
) -> None:
    _fit(tmp_path, _data(second_phase))
    _, shapes, colours = _seen(tmp_path, 2)
    assert torch.bincount(2 * shapes + colours, minlength=4).tolist() == groups
    same = torch.equal(_sorted(_seen(tmp_path, 0)[0]), _sorted(_seen(tmp_path, 2)[0]))
    assert same == (second_phase == "real")


def test_the_oracle_s_images_are_none_of_the_first_phase(tmp_path: Path) -> None:
    _fit(tmp_path, _data("oracle"))
    biased, unbiased = (
        {image.numpy().tobytes() for image in _seen(tmp_path, epoch)[0]} for epoch in (0, 2)
    )
    assert not biased & unbiased


def test_every_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    _fit(tmp_path, _data("real"))
    first, second, third = (_seen(tmp_path, epoch)[0] for epoch in range(3))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_two_ranks_learn_from_different_latents(tmp_path: Path) -> None:
    data = _data()
    _fit(tmp_path, data, devices=2)
    candidates = data.sampler.candidates(  # type: ignore[union-attr]
        PatchGenerator(), PatchGuidance(), random=seeded_generator(3, 0)
    )
    with torch.no_grad():
        known = _halves(PatchGenerator()(candidates.latents))
    for epoch in (1, 2):
        images = [_seen(tmp_path, epoch, rank)[0] for rank in range(2)]
        assert [len(rank) for rank in images] == [12, 12]
        first, second = map(_halves, images)
        assert not first & second
        # Both share the evaluation, and so draw from the candidates that one process would have.
        assert first | second <= known


def test_a_trainer_that_keeps_its_loaders_is_refused() -> None:
    trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False, max_epochs=1)
    with pytest.raises(DataModuleError, match="reload_dataloaders_every_n_epochs: 1"):
        trainer.fit(ShapeClassification(), _data("real"))


@pytest.mark.parametrize("missing", ["generator", "sampler"])
def test_a_pool_needs_all_its_parts_before_training(missing: str) -> None:
    data = _data()
    setattr(data, missing, None)
    with pytest.raises(DataModuleError, match=missing):
        data.setup("fit")


@pytest.mark.parametrize(
    ("bins", "complaint"),
    [
        ([SHAPE_AND_COLOUR[0]], "two bins of two intervals"),
        (
            [replace(SHAPE_AND_COLOUR[0], intervals=[(0, 1), (1, 2), (2, 3)], names=None)] * 2,
            "two bins of two intervals",
        ),
        ([SHAPE_AND_COLOUR[0], replace(SHAPE_AND_COLOUR[1], measure=2)], "guidance has only 2"),
    ],
)
def test_bins_that_would_fail_later_are_refused_at_once(
    bins: list[MeasureBins], complaint: str
) -> None:
    data = _data()
    data.sampler = RejectionSampler(bins=bins, evaluations=200)
    with pytest.raises(QDGSError, match=complaint):
        data.setup("fit")


def test_an_archive_that_nothing_provides_is_missed_before_the_first_phase(tmp_path: Path) -> None:
    data = _data()
    data.sampler = ArchiveSampler(bins=SHAPE_AND_COLOUR)
    with pytest.raises(DataModuleError, match="add the QDRefresh callback"):
        _fit(tmp_path, data)
    assert not list(tmp_path.iterdir())  # what the recorder writes of every epoch


@pytest.mark.parametrize(
    "setting",
    [
        {"bias": 1.5},
        {"bias": -0.1},
        {"real_epochs": -1},
        {"samples_per_epoch": 0},
        {"batch_size": 0},
        {"seed": -1},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(QDGSError, match=str(*setting.values())):
        ShapesDataModule(**setting)  # type: ignore[arg-type]


def test_images_are_drawn_without_gradient_and_on_demand() -> None:
    batch = LatentBatch(torch.zeros(2, 2), torch.tensor([[0, 1], [1, 0]]))
    synthetic: object = _data().on_after_batch_transfer(batch, 0)
    assert isinstance(synthetic, tuple)
    images, *labels = synthetic
    assert images.requires_grad is False
    assert torch.equal(images, torch.full((2, 3, 128, 128), 0.5))
    assert [label.tolist() for label in labels] == [[0, 1], [1, 0]]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_image_of_a_training_set_is_held_out(seed: int) -> None:
    """With as many images as the held-out sets have, for numbers depend on how many there are."""
    held_out = set()
    data = ShapesDataModule(seed=seed)
    for loader, size in ((data.val_dataloader(), 500), (data.test_dataloader(), 5000)):
        groups = torch.zeros(4, dtype=torch.int64)
        for images, shapes, colours in loader:
            groups += (2 * shapes + colours).bincount(minlength=4)
            held_out |= {image.tobytes() for image in images.numpy()}
        # Unbiased: a quarter of each group, five standard errors.
        assert groups.sum() == size
        assert (groups - size / 4).abs().max() < 5 * (size * 3 / 16) ** 0.5
    assert len(held_out) == 5500
    for size, second in product((500, 5000), ("real", "oracle")):
        epochs = int(second == "real")
        data = ShapesDataModule(
            second_phase=cast(SecondPhase, second),
            real_epochs=epochs,
            samples_per_epoch=size,
            batch_size=250,
            seed=seed,
        )
        data.trainer = Trainer(logger=False, reload_dataloaders_every_n_epochs=1)
        seen = {
            image.tobytes()
            for images, _, _ in cast(Iterable[list[Tensor]], data.train_dataloader())
            for image in images.numpy()
        }
        assert len(seen) > 0.99 * size
        assert not seen & held_out
