"""Keeping candidates in a file, and sharing pools out to processes."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from qdgs_lightning.domains.shapes import ShapesDataModule
from qdgs_lightning.guidance import Evaluation
from qdgs_lightning.sampling import (
    ArchiveSampler,
    MeasureBins,
    PriorSampler,
    RejectionSampler,
)
from qdgs_lightning.search import QDSearch, SearchConfig
from tests.patches import SHAPE_AND_COLOUR, PatchGenerator, PatchGuidance


class _CountingGenerator(PatchGenerator):
    """Counts the images that it has drawn."""

    drawn = 0

    def forward(self, latents: Tensor) -> Tensor:
        self.drawn += len(latents)
        return super().forward(latents)


def _data(path: Path, *, seed: int = 0, evaluations: int = 80) -> ShapesDataModule:
    return ShapesDataModule(
        second_phase="pool",
        samples_per_epoch=16,
        generator=_CountingGenerator(),
        guidance=PatchGuidance(),
        sampler=RejectionSampler(bins=SHAPE_AND_COLOUR, evaluations=evaluations),
        seed=seed,
        candidates_file=path,
    )


def _drawn(data: ShapesDataModule) -> int:
    assert isinstance(data.generator, _CountingGenerator)
    return data.generator.drawn


def test_candidates_are_evaluated_once_for_all_that_share_their_origin(tmp_path: Path) -> None:
    path = tmp_path / "candidates.safetensors"
    first, second = _data(path), _data(path)
    one, other = first.candidates(), second.candidates()
    assert (_drawn(first), _drawn(second)) == (80, 0)
    for name in ("latents", "labels", "bins", "cells"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert (one.evaluated, one.dropped, one.bin_names) == (
        other.evaluated,
        other.dropped,
        other.bin_names,
    )
    # Which of them are drawn is no matter of the candidates.
    plain = _data(path)
    plain.sampler = PriorSampler(bins=SHAPE_AND_COLOUR, evaluations=80)
    plain.candidates()
    assert _drawn(plain) == 0


@pytest.mark.parametrize("world", [1, 3, 5, 16])
def test_pools_of_all_ranks_hold_an_epoch_and_no_latent_twice(tmp_path: Path, world: int) -> None:
    data = _data(tmp_path / "candidates.safetensors")
    pools = [data.pool(0, rank=rank, world=world) for rank in range(world)]
    assert {len(pool) for pool in pools} == {math.ceil(16 / world)}
    latents = torch.cat([pool.latents for pool in pools])
    assert len(torch.unique(latents, dim=0)) == len(latents) >= 16
    other = data.pool(1, rank=0, world=world).latents
    assert torch.equal(data.pool(0, rank=0, world=world).latents, pools[0].latents)
    assert not torch.equal(other, pools[0].latents)


def test_candidates_of_another_origin_are_evaluated_anew(tmp_path: Path) -> None:
    path = tmp_path / "candidates.safetensors"
    _data(path).candidates()
    for other in (_data(path, seed=1), _data(path, evaluations=90)):
        other.candidates()
        assert _drawn(other) in (80, 90)
    path.write_bytes(b"no such file")
    broken = _data(path)
    broken.candidates()
    assert _drawn(broken) == 80


def test_candidates_of_another_archive_are_evaluated_anew(tmp_path: Path) -> None:
    data = _data(tmp_path / "candidates.safetensors")
    data.sampler = ArchiveSampler(bins=SHAPE_AND_COLOUR)
    config = SearchConfig(
        grid=(9, 9), algorithm="random", calibration=60, emitters=1, batch_size=60, seed=2
    )
    search = QDSearch(_CountingGenerator(), PatchGuidance(), config)
    elites = []
    for evaluations in (60, 180):
        search.run(evaluations)
        archive = search.archive
        data.set_archive(archive)
        before = _drawn(data)
        found = data.candidates()
        assert _drawn(data) - before == len(archive)
        known = {tuple(latent) for latent in archive.latents.tolist()}
        assert {tuple(latent) for latent in found.latents.tolist()} <= known
        elites.append(len(archive))
        # The same archive again costs nothing, in this fit and in another.
        again = _data(tmp_path / "candidates.safetensors")
        again.sampler = data.sampler
        again.set_archive(archive)
        assert torch.equal(again.candidates().latents, found.latents)
        assert _drawn(again) == 0
    assert elites[1] > elites[0]


class _LoadingGenerator(PatchGenerator):
    """Draws nothing before it is prepared, as one that loads its weights then."""

    loaded = False

    def prepare(self) -> None:
        self.loaded = True
        super().prepare()

    def forward(self, latents: Tensor) -> Tensor:
        assert self.loaded
        return super().forward(latents)


class _LoadingGuidance(PatchGuidance):
    """Judges nothing before it is prepared."""

    loaded = False

    def prepare(self) -> None:
        self.loaded = True
        super().prepare()

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        assert self.loaded
        return super().forward(images, latents)


def test_what_draws_and_what_judges_are_prepared_first(tmp_path: Path) -> None:
    data = _data(tmp_path / "candidates.safetensors")
    data.generator, data.guidance = _LoadingGenerator(), _LoadingGuidance()
    assert len(data.pool(0)) == 16


def test_bins_without_candidates_are_said_with_what_they_measure(tmp_path: Path) -> None:
    never = MeasureBins(measure=0, intervals=[(-9, -8), (-8, 9)], names=["dark", "light"])
    data = _data(tmp_path / "candidates.safetensors")
    data.sampler = PriorSampler(bins=[SHAPE_AND_COLOUR[0], never], evaluations=80)
    data.trainer = Trainer(accelerator="cpu", logger=False)
    said = r"Nothing to draw for left dark, right dark \(measures: slope; brightness\)\."
    with pytest.warns(UserWarning, match=said):
        data.synthetic_dataloader()
