"""Samplers over toys whose labels are known without guidance."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Evaluation, Guidance
from qdgs_lightning.sampling import (
    ArchiveSampler,
    Candidates,
    MeasureBins,
    PoolReport,
    PriorSampler,
    Quality,
    RejectionSampler,
    Sampler,
    SamplingError,
)
from qdgs_lightning.sampling.augmented import AugmentedGuidance, augment
from qdgs_lightning.search import Archive, QDSearch, SearchConfig
from qdgs_lightning.utils.seeding import seeded_generator

BINS = [
    MeasureBins(measure=0, intervals=[(-math.inf, -0.1), (0.1, math.inf)], names=["low", "high"]),
    MeasureBins(measure=1, intervals=[(-math.inf, 0.9), (0.9, math.inf)], names=["many", "few"]),
]


class _PixelGenerator(Generator):
    """A latent of three numbers is the colour of all pixels but those of a dark left column."""

    latent_shape = (3,)
    image_size = 8

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 3, generator=generator)

    def forward(self, latents: Tensor) -> Tensor:
        images = latents[:, :, None, None].expand(-1, -1, 8, 8).clone()
        images[..., 0] = -1
        return images


class _PixelGuidance(Guidance):
    """Measures are red and green of the second column; the objective is blue."""

    measure_names = ("red", "green")

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        return Evaluation(latents[:, 2], images[:, :2, 4, 1])

    def describe(self) -> dict[str, object]:
        return {"pixels": True}


def _archive(evaluations: int = 600) -> Archive:
    config = SearchConfig(
        grid=(12, 12), algorithm="random", ranges=((-3, 3), (-3, 3)), calibration=100
    )
    search = QDSearch(_PixelGenerator(), _PixelGuidance(), config)
    search.run(evaluations)
    return search.archive


def _candidates(
    sampler: PriorSampler | ArchiveSampler, archive: Archive | None = None
) -> Candidates:
    return sampler.candidates(
        _PixelGenerator(), _PixelGuidance(), random=seeded_generator(0), archive=archive
    )


def _truth(latents: Tensor) -> Tensor:
    """Joint bin by the definition of the toys, -1 where there is none."""
    red = torch.where(latents[:, 0] < -0.1, 0, torch.where(latents[:, 0] >= 0.1, 1, -9))
    return (2 * red + (latents[:, 1] >= 0.9)).clamp(min=-1)


def test_random_keeps_the_shares_of_the_prior_and_true_labels() -> None:
    candidates = _candidates(PriorSampler(bins=BINS, evaluations=4000))
    truth = _truth(candidates.latents)
    assert torch.equal(candidates.bins, truth)
    assert torch.equal(2 * candidates.labels[:, 0] + candidates.labels[:, 1], truth)
    unlabelled = 4000 - len(candidates)
    assert candidates.dropped == {"unlabelled": unlabelled, "poor": 0}
    few = float((candidates.bins % 2 == 1).double().mean())
    assert few == pytest.approx(0.184, abs=0.025)  # P(normal >= 0.9), four standard errors
    pool = PriorSampler(bins=BINS, evaluations=4000).draw(
        candidates, 1000, random=seeded_generator(1)
    )
    assert float(pool.labels[:, 1].double().mean()) == pytest.approx(0.184, abs=0.06)
    assert pool.report.distinct == 1000


def test_rejection_considers_the_same_latents_and_balances_them() -> None:
    sampler = RejectionSampler(bins=BINS, evaluations=1000)
    candidates = _candidates(sampler)
    assert torch.equal(
        candidates.latents, _candidates(PriorSampler(bins=BINS, evaluations=1000)).latents
    )
    pool = sampler.draw(candidates, 402, random=seeded_generator(1))
    drawn = torch.bincount(_truth(pool.latents), minlength=4)
    assert sorted(drawn.tolist()) == [100, 100, 101, 101]
    assert pool.report.drawn == tuple(drawn.tolist())


def test_archive_pool_is_balanced_and_even_over_cells() -> None:
    sampler = ArchiveSampler(bins=BINS, max_repeats=20)
    candidates = _candidates(sampler, _archive())
    pool = sampler.draw(candidates, 400, random=seeded_generator(1))
    assert torch.bincount(_truth(pool.latents)).tolist() == [100] * 4
    _, inverse = torch.unique(pool.latents, dim=0, return_inverse=True)
    times = torch.bincount(inverse)
    for joint in range(4):
        of_bin = times[inverse[_truth(pool.latents) == joint].unique()]
        assert int(of_bin.max() - of_bin.min()) <= 1


def test_archive_pool_can_be_even_over_cells_alone() -> None:
    sampler = ArchiveSampler(bins=BINS, even_over="cells")
    candidates = _candidates(sampler, _archive())
    pool = sampler.draw(candidates, len(candidates), random=seeded_generator(1))
    # There is one elite in a cell, and thus every one of them once, whatever its bin.
    assert len(torch.unique(pool.latents, dim=0)) == len(candidates)
    of_bins = _truth(pool.latents).bincount(minlength=4)
    assert of_bins.max() > 2 * of_bins.min()
    with pytest.raises(SamplingError, match="give one of bins, cells"):
        ArchiveSampler(bins=BINS, even_over="elites")  # type: ignore[arg-type]


def test_quotas_come_before_evenness_over_cells() -> None:
    sampler = ArchiveSampler(
        bins=BINS, even_over="cells", proportions={"low": 0.75, "high": 0.25}, max_repeats=50
    )
    candidates = _candidates(sampler, _archive())
    pool = sampler.draw(candidates, 400, random=seeded_generator(1))
    drawn = torch.bincount(_truth(pool.latents), minlength=4)
    assert (int(drawn[:2].sum()), int(drawn[2:].sum())) == (300, 100)
    _, inverse = torch.unique(pool.latents, dim=0, return_inverse=True)
    times = torch.bincount(inverse)
    for joint in range(4):
        of_bin = times[inverse[_truth(pool.latents) == joint].unique()]
        assert int(of_bin.max() - of_bin.min()) <= 1


def test_elites_that_left_their_bin_are_dropped() -> None:
    archive = _archive()
    lied = archive.measures.clone()
    moved = (_truth(archive.latents) >= 0).nonzero().squeeze(1)[:7]
    lied[moved, 0] *= -1
    candidates = _candidates(ArchiveSampler(bins=BINS), replace(archive, measures=lied))
    assert candidates.dropped["moved"] == 7
    kept = {tuple(latent) for latent in candidates.latents.tolist()}
    assert not kept & {tuple(latent) for latent in archive.latents[moved].tolist()}


def test_label_must_survive_the_alterations_that_are_named() -> None:
    # Flipping brings the dark column nowhere near the second one; a shift by a pixel puts it there.
    quality = Quality(agreement=["flip_horizontal", "rotate_90", "shift"])
    sampler = PriorSampler(bins=BINS, evaluations=500, quality=quality)
    candidates = _candidates(sampler)
    plain = _candidates(PriorSampler(bins=BINS, evaluations=500))
    dark = (plain.latents[:, 0] < -0.1) & (plain.latents[:, 1] < 0.9)
    assert torch.equal(candidates.latents, plain.latents[dark])
    assert candidates.dropped["disagreeing"] == int((~dark).sum())


def test_objective_floors_by_value_and_by_quantile_of_each_bin() -> None:
    plain = _candidates(PriorSampler(bins=BINS, evaluations=2000))
    floor = Quality(objective=0.5)
    above = _candidates(PriorSampler(bins=BINS, evaluations=2000, quality=floor))
    assert torch.equal(above.latents, plain.latents[plain.latents[:, 2] >= 0.5])

    best = _candidates(PriorSampler(bins=BINS, evaluations=2000, quality=Quality(quantile=0.75)))
    for joint in range(4):
        kept = best.latents[best.bins == joint][:, 2].sort().values
        objective = plain.latents[plain.bins == joint][:, 2].sort().values
        assert torch.equal(kept, objective[-len(kept) :])
        assert len(kept) == pytest.approx(0.25 * len(objective), abs=1)


def test_a_quantile_keeps_what_is_as_good_as_it() -> None:
    class Equal(_PixelGuidance):
        """All objectives are the same."""

        def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
            return super().forward(images, latents)._replace(objective=torch.ones(len(latents)))

    for quality in (Quality(quantile=0.75), Quality(objective=1.0)):
        sampler = PriorSampler(bins=BINS, evaluations=200, quality=quality)
        candidates = sampler.candidates(_PixelGenerator(), Equal(), random=seeded_generator(0))
        assert candidates.dropped["poor"] == 0


def test_what_fails_another_test_does_not_count_towards_a_quantile() -> None:
    # Those that disagree are the best by far; of the others a half are kept.
    class Best(_PixelGuidance):
        """Light images have the higher objectives."""

        def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
            judged = super().forward(images, latents)
            return judged._replace(objective=latents[:, 2] + 100 * (latents[:, 0] > 0))

    bins = [MeasureBins(measure=0, intervals=[(-math.inf, math.inf)])]
    doubtful = replace(BINS[0], measure=0)
    quality = Quality(agreement=["shift"], quantile=0.5)
    sampler = PriorSampler(bins=[*bins, doubtful], evaluations=400, quality=quality)
    found = sampler.candidates(_PixelGenerator(), Best(), random=seeded_generator(0))
    dark = _candidates(PriorSampler(bins=BINS[:1], evaluations=400))
    expected = int((dark.labels[:, 0] == 0).sum()) / 2
    assert len(found) == pytest.approx(expected, abs=1)


def test_a_pool_is_in_random_order() -> None:
    sampler = PriorSampler(bins=BINS, evaluations=300)
    candidates = _candidates(sampler)
    place = {tuple(latent): row for row, latent in enumerate(candidates.latents.tolist())}
    orders = []
    for stream in (1, 2):
        pool = sampler.draw(candidates, 150, random=seeded_generator(stream))
        orders.append([place[tuple(latent)] for latent in pool.latents.tolist()])
    for order in orders:
        rising = sum(a < b for a, b in pairwise(order)) / 149
        assert 0.35 < rising < 0.65
    assert orders[0] != orders[1]


def test_shares_of_ranks_hold_as_equal_a_part_of_every_bin_as_may_be() -> None:
    candidates = _candidates(PriorSampler(bins=BINS, evaluations=600))
    # In an order in which every third is of one bin.
    candidates = replace(candidates, bins=torch.arange(len(candidates)) % 3)
    counts = torch.stack(
        [candidates.bins[candidates.share(r, 3)].bincount(minlength=4) for r in range(3)]
    )
    assert (counts.amax(0) - counts.amin(0)).max() <= 1
    assert counts.sum() == len(candidates)
    rows = torch.cat([candidates.share(rank, 3) for rank in range(3)])
    assert sorted(rows.tolist()) == list(range(len(candidates)))


def test_kish_s_size_of_a_pool_counts_repeats_for_less() -> None:
    candidates = _candidates(PriorSampler(bins=BINS, evaluations=40))
    counts = torch.zeros(len(candidates), dtype=torch.int64)
    counts[:4] = torch.tensor([3, 1, 1, 1])
    report = PoolReport.of(candidates, counts)
    assert report.effective_size == pytest.approx(6**2 / (9 + 1 + 1 + 1))
    assert (report.distinct, report.most_repeated) == (4, 3)


@pytest.mark.parametrize(("side", "pixels"), [(8, 1), (16, 1), (40, 2), (64, 4)])
def test_a_shift_is_a_sixteenth_of_the_side_and_repeats_the_border(side: int, pixels: int) -> None:
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    source = (torch.arange(side) - pixels).clamp(min=0)
    assert torch.equal(augment(images, "shift"), images[:, :, source][..., source])


def test_flips_and_turns_are_those_of_numpy() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    array = images.numpy()
    for how, expected in (
        ("flip_horizontal", array[..., ::-1]),
        ("flip_vertical", array[..., ::-1, :]),
        ("rotate_90", np.rot90(array, 1, (2, 3))),
        ("rotate_180", np.rot90(array, 2, (2, 3))),
        ("rotate_270", np.rot90(array, 3, (2, 3))),
    ):
        assert np.array_equal(augment(images, how).numpy(), expected), how  # type: ignore[arg-type]


def test_an_altered_copy_is_measured_beside_the_image_and_means_the_same() -> None:
    class Ends(_PixelGuidance):
        """Has words for one of its measures."""

        def measure_ends(self) -> tuple[tuple[str, str] | None, ...]:
            return (("pale", "red"), None)

    judge = AugmentedGuidance(Ends(), ["flip_horizontal", "shift"])
    assert judge.measure_names == (
        *("red", "green"),
        *("red after flip_horizontal", "green after flip_horizontal"),
        *("red after shift", "green after shift"),
    )
    assert judge.measure_ends() == (("pale", "red"), None) * 3
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = judge(images, images[:, :, 0, 0]).measures
    for view, copy in enumerate((images, images.flip(3), augment(images, "shift"))):
        assert torch.equal(found[:, 2 * view : 2 * view + 2], copy[:, :2, 4, 1])
    assert judge.describe() == {"pixels": True, "augmentations": ["flip_horizontal", "shift"]}


def test_samplers_that_consider_or_draw_otherwise_are_described_otherwise() -> None:
    """Kept candidates are found again by what `describe` says, audits by `describe_all`."""
    settings: list[dict[str, Any]] = [
        {},
        {"quality": Quality(objective=0.5)},
        {"quality": Quality(quantile=0.5)},
        {"quality": Quality(agreement=["shift"])},
        {"batch_size": 7},
    ]
    draws: list[dict[str, Any]] = [
        {"max_repeats": 3},
        {"proportions": {"low": 0.5, "high": 0.5}},
        {"renormalise": True},
    ]
    kinds: list[tuple[Callable[..., Sampler], list[dict[str, Any]]]] = [
        (partial(PriorSampler, evaluations=9), draws[:1]),
        (partial(RejectionSampler, evaluations=9), draws),
        (ArchiveSampler, [*draws, {"even_over": "cells"}]),
    ]
    for make, draw in kinds:
        considered = [make(bins=BINS[:1]), *(make(bins=BINS, **each) for each in settings)]
        if make is not ArchiveSampler:
            considered.append(make(bins=BINS, evaluations=10))
        drawn = [make(bins=BINS, **each) for each in draw]
        said = [json.dumps(sampler.describe(), sort_keys=True) for sampler in considered]
        assert len(set(said)) == len(said)
        assert all(sampler.describe() == considered[1].describe() for sampler in drawn)
        whole = [json.dumps(each.describe_all(), sort_keys=True) for each in [*considered, *drawn]]
        assert len(set(whole)) == len(whole)


def test_objective_is_the_lowest_over_all_views() -> None:
    class Corner(_PixelGuidance):
        """The objective is one corner's blue, which turns move elsewhere."""

        def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
            return Evaluation(images[:, 2, 0, 0], images[:, :2, 4, 1])

    images = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    judged = AugmentedGuidance(Corner(), ["rotate_90", "rotate_180", "rotate_270"])
    corners = images[:, 2][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.equal(judged(images, images).objective, corners.amin(dim=1))


def test_empty_bins_and_repeats_are_reported() -> None:
    bins = [MeasureBins(measure=0, intervals=[(-0.3, 0.0), (0.0, 0.3), (50.0, 60.0)])]
    sampler = RejectionSampler(bins=bins, evaluations=40, max_repeats=30)
    candidates = _candidates(sampler)
    report = sampler.draw(candidates, 100, random=seeded_generator(0)).report
    assert report.empty_bins == ("0:2",)
    assert report.drawn == (50, 50, 0)
    assert report.distinct == len(candidates)
    assert report.most_repeated == -(-50 // min(report.available[:2]))
    assert report.effective_size <= len(candidates)
    named = replace(report, bin_names=("light young", "light old", "dark"))
    assert named.metrics() == {
        "pool/evaluated": 40,
        "pool/distinct": len(candidates),
        "pool/most_repeated": report.most_repeated,
        "pool/effective_size": report.effective_size,
        "pool/empty_bins": 1,
        "pool/available/light_young": report.available[0],
        "pool/available/light_old": report.available[1],
        "pool/available/dark": 0,
        "pool/drawn/light_young": 50,
        "pool/drawn/light_old": 50,
        "pool/drawn/dark": 0,
        "pool/dropped/unlabelled": 40 - len(candidates),
        "pool/dropped/poor": 0,
    }
    first, *of_bins, dropped = str(report).splitlines()
    assert first == (
        f"Pool of 100 draws from {report.distinct} different latents, none more than "
        f"{report.most_repeated} times (effective size {report.effective_size:.0f} of 100)."
    )
    assert of_bins == [
        f"  0:0: 50 draws from {report.available[0]} candidates",
        f"  0:1: 50 draws from {report.available[1]} candidates",
        "  0:2: 0 draws from 0 candidates",
    ]
    assert dropped == (
        f"  dropped of 40 evaluated latents: {40 - len(candidates)} unlabelled (in no bin)"
    )


def test_a_bin_that_is_full_leaves_the_rest_to_others() -> None:
    bins = [MeasureBins(measure=0, intervals=[(-9.0, 2.0), (2.0, 9.0)])]
    sampler = RejectionSampler(bins=bins, evaluations=200, max_repeats=2)
    candidates = _candidates(sampler)
    rare = int((candidates.bins == 1).sum())
    assert 0 < rare < 20
    report = sampler.draw(candidates, 100, random=seeded_generator(0)).report
    assert report.drawn == (100 - 2 * rare, 2 * rare)


def test_repeats_are_refused_beyond_the_cap() -> None:
    sampler = PriorSampler(bins=BINS, evaluations=50, max_repeats=2)
    with pytest.raises(SamplingError, match="at most 2 times"):
        sampler.draw(_candidates(sampler), 101, random=seeded_generator(0))


def test_same_stream_gives_the_same_pool_and_ranks_share_nothing() -> None:
    sampler = RejectionSampler(bins=BINS, evaluations=600)
    candidates = _candidates(sampler)

    def latents(rank: int, stream: int) -> Tensor:
        pool = sampler.draw(candidates, 300, random=seeded_generator(stream), rank=rank, world=3)
        return pool.latents

    assert torch.equal(latents(0, 5), latents(0, 5))
    assert not torch.equal(latents(0, 5), latents(0, 6))
    seen = [{tuple(row) for row in latents(rank, 5).tolist()} for rank in range(3)]
    assert len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen))


def test_missing_or_foreign_archive_is_told_in_one_sentence() -> None:
    with pytest.raises(SamplingError, match="no elites"):
        _candidates(ArchiveSampler(bins=BINS))

    class Wider(_PixelGenerator):
        latent_shape = (4,)

    with pytest.raises(SamplingError, match=r"was made with .*, not with this generator \(Wider-"):
        ArchiveSampler(bins=BINS).candidates(
            Wider(), _PixelGuidance(), random=seeded_generator(0), archive=_archive()
        )


def test_nothing_usable_is_an_error() -> None:
    sampler = PriorSampler(bins=BINS, evaluations=20, quality=Quality(objective=99.0))
    with pytest.raises(SamplingError, match=r"dropped of 20 evaluated .* poor \(objective below"):
        _candidates(sampler)


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(SamplingError, match="evaluations"):
        PriorSampler(bins=BINS, evaluations=0)
    with pytest.raises(SamplingError, match="max_repeats"):
        ArchiveSampler(bins=BINS, max_repeats=0)
    with pytest.raises(SamplingError, match="quantile"):
        Quality(quantile=1.0)
