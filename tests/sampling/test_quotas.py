"""Quotas: what they are read as, how they are raked, and what is drawn by them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qdgs_lightning.guidance import Evaluation, LatentAxes, PromptGuidance, PromptPair
from qdgs_lightning.sampling import (
    Candidates,
    MeasureBins,
    PriorSampler,
    RejectionSampler,
    SamplingError,
)
from qdgs_lightning.sampling.base import measure_prompts
from qdgs_lightning.sampling.quotas import Quotas
from qdgs_lightning.utils.seeding import seeded_generator
from tests.toys import ToyGenerator, ToyGuidance

CLASSES = [["light", "dark"], ["young", "old"]]
BINS = [
    MeasureBins(measure=0, intervals=[(-math.inf, 0.5), (0.5, math.inf)], names=["light", "dark"]),
    MeasureBins(measure=1, intervals=[(-math.inf, 0.5), (0.5, math.inf)], names=["young", "old"]),
]
ALL = torch.ones(2, 2, dtype=torch.bool)
SHARES = st.floats(0.05, 0.95)


def _shares(proportions: dict[str, float], available: Tensor = ALL) -> list[list[float]]:
    shares: list[list[float]] = Quotas.of(proportions, CLASSES).shares(available).tolist()
    return shares


def test_one_margin_leaves_the_other_attribute_even() -> None:
    assert _shares({"dark": 0.7, "light": 0.3})[0] == pytest.approx([0.15, 0.15])
    assert _shares({"dark": 0.7, "light": 0.3})[1] == pytest.approx([0.35, 0.35])
    assert _shares({"old": 1.0}) == [[0, 0.5], [0, 0.5]]


@given(SHARES, SHARES)
def test_two_margins_of_full_bins_are_independent(dark: float, old: float) -> None:
    shares = _shares({"dark": dark, "light": 1 - dark, "old": old, "young": 1 - old})
    product = [[(1 - dark) * (1 - old), (1 - dark) * old], [dark * (1 - old), dark * old]]
    for row, expected in zip(shares, product, strict=True):
        assert row == pytest.approx(expected)


@pytest.mark.parametrize(
    ("light", "young"), [(0.7, 0.5), (0.95, 0.9), (0.55, 0.6), (0.5, 0.25), (0.2, 0.1)]
)
def test_an_empty_bin_leaves_one_way_or_none(light: float, young: float) -> None:
    """Without anything dark and old, each margin of a class alone is one bin."""
    proportions = {"light": light, "dark": 1 - light, "young": young, "old": 1 - young}
    available = torch.tensor([[True, True], [True, False]])
    both = light + young - 1  # all that is old is light, all that is dark is young
    if both > 0:
        shares = _shares(proportions, available)
        assert shares[0] == pytest.approx([both, 1 - young], abs=1e-3)
        assert shares[1] == pytest.approx([1 - light, 0], abs=1e-3)
    else:
        with pytest.raises(SamplingError, match="cannot be had together"):
            _shares(proportions, available)


def test_raked_shares_are_the_nearest_to_even_ones() -> None:
    """By Lagrange, log shares over available bins are a sum of one term per class."""
    classes = [["a", "b", "c"], ["x", "y"], ["p", "q", "r"]]
    margin = {"a": 0.6, "b": 0.3, "c": 0.1, "x p": 0.4, "y p": 0.2, "x q": 0.3, "y r": 0.1}
    quotas = Quotas.of(margin, classes)
    shares = quotas.shares(torch.ones(3, 2, 3, dtype=torch.bool))
    torch.testing.assert_close(
        shares.sum((1, 2)), torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    )
    table = torch.tensor([[0.4, 0.3, 0], [0.2, 0, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(shares.sum(0), table)
    product = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)[:, None, None] * table
    torch.testing.assert_close(shares, product)


def test_joint_bins_are_taken_as_they_are() -> None:
    proportions = {"light young": 0.1, "light old": 0.2, "dark young": 0.3, "dark old": 0.4}
    assert _shares(proportions) == [pytest.approx([0.1, 0.2]), pytest.approx([0.3, 0.4])]
    assert _shares({"dark old": 1.0}) == [[0, 0], [0, 1]]


def test_groups_without_anything_are_named_and_shared_out() -> None:
    quotas = Quotas.of({"dark old": 0.5, "light old": 0.3, "dark young": 0.2}, CLASSES)
    available = torch.tensor([[True, True], [True, False]])
    assert quotas.unmet(ALL) == ()
    assert quotas.unmet(available) == ("dark old",)
    shares = quotas.shares(available).tolist()
    assert shares == [pytest.approx([0, 0.6]), pytest.approx([0.4, 0])]
    with pytest.raises(SamplingError, match="nothing to draw for any"):
        Quotas.of({"dark old": 1.0}, CLASSES).shares(available)


@pytest.mark.parametrize(
    ("proportions", "complaint"),
    [
        ({"darc": 1.0}, r"'darc', which is no group \(did you mean 'dark'\?\).*light, dark, young"),
        ({"old dark": 1.0}, "no group"),
        ({"dark": 0.5, "light": 0.4}, r"of dark, light sum to 0.9"),
        ({"dark": 0.5, "light": 0.500002}, "sum to"),
        ({"dark": 0.5, "light": 0.5, "old": 0.5}, "of old sum to 0.5"),
        ({"dark": 1.5, "light": -0.5}, r"'dark' a share of 1.5"),
        ({"dark": math.nan, "light": 1}, "share of nan"),
        ({}, "name no group"),
    ],
)
def test_senseless_proportions_are_refused(proportions: dict[str, float], complaint: str) -> None:
    with pytest.raises(SamplingError, match=complaint):
        Quotas.of(proportions, CLASSES)
    with pytest.raises(SamplingError, match=complaint):
        RejectionSampler(bins=BINS, evaluations=9, proportions=proportions)


def test_names_that_could_be_two_groups_are_refused_when_used() -> None:
    classes = [["low", "high"], ["low", "high"]]
    with pytest.raises(SamplingError, match="group of several attributes"):
        Quotas.of({"low": 1.0}, classes)
    assert Quotas.of({"low high": 1.0}, classes).margins[0, 1].tolist() == [[0, 1], [0, 0]]


def test_contradictory_quotas_are_refused() -> None:
    with pytest.raises(SamplingError, match="contradict each other"):
        _shares({"dark": 0.5, "light": 0.5, "dark old": 0.9, "light old": 0.1})


class _Line(ToyGuidance):
    """The measures are the first two numbers of the latent."""

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        return Evaluation(latents[:, 0], latents[:, :2])


def _candidates(sampler: PriorSampler) -> Candidates:
    return sampler.candidates(ToyGenerator(), _Line(), random=seeded_generator(0))


def _group(latents: Tensor) -> Tensor:
    """Joint bin by the definition of the toys."""
    return 2 * (latents[:, 0] >= 0.5).long() + (latents[:, 1] >= 0.5).long()


def test_a_pool_has_the_shares_that_were_asked_for() -> None:
    sampler = RejectionSampler(
        bins=BINS,
        evaluations=400,
        max_repeats=50,
        proportions={"dark": 0.6, "light": 0.4, "old": 0.9, "young": 0.1},
    )
    candidates = _candidates(sampler)
    pool = sampler.draw(candidates, 1000, random=seeded_generator(1))
    assert torch.bincount(_group(pool.latents)).tolist() == [40, 360, 60, 540]
    report = pool.report
    assert report.drawn == (40, 360, 60, 540)
    assert report.wanted == pytest.approx((0.04, 0.36, 0.06, 0.54))
    assert report.distance == pytest.approx(0)
    assert "  light young: 40 draws from" in str(report)
    assert "candidates, wanted 4.0% of the draws\n" in str(report)
    assert str(report).endswith("  0.0% of the draws are in another bin than wanted")
    # within a bin latents are drawn evenly
    _, inverse = torch.unique(pool.latents, dim=0, return_inverse=True)
    times = torch.bincount(inverse)
    for group in range(4):
        of_group = times[inverse[_group(pool.latents) == group].unique()]
        assert int(of_group.max() - of_group.min()) <= 1


def test_quotas_decide_draws_and_not_candidates() -> None:
    even = RejectionSampler(bins=BINS, evaluations=300)
    quotas = RejectionSampler(bins=BINS, evaluations=300, proportions={"dark": 0.9, "light": 0.1})
    assert even.describe() == quotas.describe()
    assert torch.equal(_candidates(even).latents, _candidates(quotas).latents)


def test_what_runs_out_leaves_the_rest_to_others_and_is_reported() -> None:
    sampler = RejectionSampler(
        bins=BINS, evaluations=200, max_repeats=1, proportions={"dark": 0.9, "light": 0.1}
    )
    candidates = _candidates(sampler)
    dark = int((candidates.bins >= 2).sum())
    assert 30 < dark < 90
    report = sampler.draw(candidates, 100, random=seeded_generator(0)).report
    assert sum(report.drawn[2:]) == dark
    assert sum(report.drawn[:2]) == 100 - dark
    wanted = (0.05, 0.05, 0.45, 0.45)
    gaps = [abs(drawn / 100 - share) for drawn, share in zip(report.drawn, wanted, strict=True)]
    assert report.distance == pytest.approx(sum(gaps) / 2)
    assert report.metrics()["pool/distance_to_quotas"] == report.distance


def test_too_few_candidates_of_the_groups_that_are_wanted() -> None:
    sampler = RejectionSampler(bins=BINS, evaluations=100, max_repeats=1, proportions={"dark": 1.0})
    with pytest.raises(SamplingError, match="in the bins that `proportions` name: process 0 can"):
        sampler.draw(_candidates(sampler), 90, random=seeded_generator(0))


EMPTY = [
    MeasureBins(measure=0, intervals=[(-9.0, 0.0), (0.0, 9.0), (50.0, 60.0)], names=["a", "b", "c"])
]


def test_a_quota_of_an_empty_bin_is_an_error_unless_shared_out() -> None:
    proportions = {"a": 0.3, "b": 0.5, "c": 0.2}
    strict = RejectionSampler(bins=EMPTY, evaluations=100, proportions=proportions)
    candidates = _candidates(strict)
    with pytest.raises(SamplingError, match=r"ask for c \(measures: red\), and there is no cand"):
        strict.draw(candidates, 80, random=seeded_generator(0))
    lenient = RejectionSampler(
        bins=EMPTY, evaluations=100, proportions=proportions, renormalise=True
    )
    report = lenient.draw(candidates, 80, random=seeded_generator(0)).report
    assert report.drawn == (30, 50, 0)
    assert report.unmet == ("c",)
    assert report.wanted == pytest.approx((0.375, 0.625, 0))
    assert "candidates, wanted 37.5% of the draws" in str(report)
    assert str(report).endswith("another bin than wanted; no candidates of c")


def test_ranks_keep_the_quotas_and_share_nothing() -> None:
    sampler = RejectionSampler(bins=BINS, evaluations=600, proportions={"dark": 0.8, "light": 0.2})
    candidates = _candidates(sampler)
    pools = [
        sampler.draw(candidates, 100, random=seeded_generator(r), rank=r, world=2) for r in (0, 1)
    ]
    for pool in pools:
        assert pool.report.drawn == (10, 10, 40, 40)
    seen = [{tuple(row) for row in pool.latents.tolist()} for pool in pools]
    assert not seen[0] & seen[1]


def test_measures_are_named_with_their_prompts_through_wrappers() -> None:
    pairs = [PromptPair(name="skin", positive="A pale face.", negative="A dark face.")]
    guidance = LatentAxes(PromptGuidance(measures=pairs), axes=1)
    bins = [MeasureBins(measure=1, intervals=[(0, 1)]), MeasureBins(measure=0, intervals=[(0, 1)])]
    assert measure_prompts(guidance, bins) == (
        "latent 1",
        'skin from "A pale face." to "A dark face."',
    )


def test_groups_along_two_attributes_have_nothing_where_both_have_nothing() -> None:
    quotas = Quotas.of({"dark": 0.5, "light": 0.5, "old": 0.25, "young": 0.75}, CLASSES)
    available = torch.tensor([[True, False], [True, False]])
    assert quotas.unmet(available) == ("old",)
    assert quotas.unmet(available.T) == ("dark",)
    shares = quotas.shares(available)
    assert shares.dtype == torch.float64
    assert shares.tolist() == [[0.5, 0], [0.5, 0]]


def test_shares_that_sum_to_nearly_one_are_made_one() -> None:
    quotas = Quotas.of({"dark": 0.0, "light": 1.0000005 - 1e-6}, CLASSES)
    assert quotas.margins[0,].tolist() == [1, 0]


def test_a_terminal_shows_how_many_latents_are_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes anything for a terminal
    monkeypatch.setenv("TERM", "xterm")
    _candidates(RejectionSampler(bins=BINS, evaluations=100))
    shown = capsys.readouterr()
    assert "Judging latents" in shown.err
    assert shown.out == ""
