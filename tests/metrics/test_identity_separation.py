"""Separation of identities against scipy, closed forms of two Gaussians, and exact properties."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, norm
from torch import Tensor

from qdgs_lightning.metrics import BootstrapError, VerificationError, identity_separation


def pairs_of(num_people: int, each: int, *, apart: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw distances of two Gaussians of deviation 1, means `apart` apart, of so many people."""
    generator = torch.Generator().manual_seed(seed)
    one = torch.arange(num_people).repeat_interleave(each)
    two = (one + torch.randint(1, num_people, one.shape, generator=generator)) % num_people
    people = torch.cat([torch.stack([one, one], 1), torch.stack([one, two], 1)])
    means = apart * (people[:, 0] != people[:, 1])
    return torch.randn(len(people), generator=generator, dtype=torch.float64) + means, people


@pytest.mark.parametrize("rounded", [False, True])
def test_the_area_is_that_of_mann_and_whitney(rounded: bool) -> None:
    distances, people = pairs_of(20, 15, apart=1.0, seed=0)
    distances = distances.round() if rounded else distances  # ties
    same = people[:, 0] == people[:, 1]
    u = mannwhitneyu(distances[~same], distances[same]).statistic
    found = identity_separation(distances, people, num_bootstrap=0)
    assert found.auc.value == pytest.approx(u / (300 * 300), abs=1e-12)
    assert (found.num_same, found.num_different, found.num_people) == (300, 300, 20)
    assert math.isnan(found.auc.low)
    assert math.isnan(found.eer.high)


def test_two_gaussians_have_their_closed_forms() -> None:
    distances, people = pairs_of(500, 200, apart=1.5, seed=1)
    found = identity_separation(distances, people, num_bootstrap=0)
    assert found.auc.value == pytest.approx(norm.cdf(1.5 / math.sqrt(2)), abs=0.003)
    assert found.eer.value == pytest.approx(norm.cdf(-0.75), abs=0.003)
    for rate, share in found.tar.items():
        assert share.value == pytest.approx(norm.cdf(norm.ppf(rate) + 1.5), abs=0.01)


def test_cosines_of_a_perfect_separation_are_told_as_such() -> None:
    # torchmetrics puts scores beyond [0, 1] through a sigmoid, batch by batch.
    cosines, people = torch.tensor([0.9, 0.8, -0.5, 0.1]), [[0, 0], [1, 1], [0, 1], [1, 2]]
    found = identity_separation(2 - 2 * cosines, torch.tensor(people), num_bootstrap=50)
    assert found.auc[:2] == (1.0, 1.0)
    assert found.eer[::2] == (0.0, 0.0)
    assert found.tar == {}  # two pairs of two people show no false match rate of 1 %


def test_repeated_pairs_of_the_same_people_do_not_narrow_intervals() -> None:
    distances, people = pairs_of(12, 5, apart=1.0, seed=2)
    few = identity_separation(distances, people, num_bootstrap=200)
    many = identity_separation(distances.repeat(30), people.repeat(30, 1), num_bootstrap=200)
    torch.testing.assert_close(torch.tensor(few.auc), torch.tensor(many.auc))
    torch.testing.assert_close(torch.tensor(few.eer), torch.tensor(many.eer))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Each person has a distance within of their own, which intervals over pairs would miss."""
    hits, trials = 0, 60
    truth = norm.cdf(1.5 / math.sqrt(1 + 1 + 1))
    for seed in range(trials):
        distances, people = pairs_of(40, 10, apart=1.5, seed=seed)
        own = torch.from_numpy(np.random.default_rng(seed).normal(size=40))
        same = people[:, 0] == people[:, 1]
        found = identity_separation(
            torch.where(same, distances + own[people[:, 0]], distances), people, num_bootstrap=100
        )
        hits += found.auc.low <= truth <= found.auc.high
    assert hits / trials >= 0.86  # 0.95 less three standard deviations of 60 trials


def test_a_pair_counts_as_often_as_both_its_people_were_drawn() -> None:
    distances, people = pairs_of(6, 4, apart=1.0, seed=3)
    same = people[:, 0] == people[:, 1]
    generator, found = torch.Generator().manual_seed(7), []
    for _ in range(30):
        counts = torch.randint(6, (6,), generator=generator).bincount(minlength=6)
        times = torch.where(same, counts[people[:, 0]], counts[people].prod(dim=1))
        repeated, kinds = distances.repeat_interleave(times), same.repeat_interleave(times)
        u = mannwhitneyu(repeated[~kinds], repeated[kinds]).statistic
        found.append(u / int(kinds.sum()) / int((~kinds).sum()))
    auc = identity_separation(distances, people, num_bootstrap=30, seed=7).auc
    low, high = (np.quantile(found, q, method=m) for q, m in ((0.025, "lower"), (0.975, "higher")))  # type: ignore[call-overload]
    assert (auc.low, auc.high) == pytest.approx((low, high))


def test_the_seed_decides() -> None:
    distances, people = pairs_of(12, 5, apart=1.0, seed=2)
    first, again, other = (
        identity_separation(distances, people, num_bootstrap=50, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.auc.value == other.auc.value
    assert first.auc != other.auc


def test_pairs_that_say_nothing() -> None:
    distances, people = pairs_of(4, 3, apart=1.0, seed=0)
    with pytest.raises(VerificationError, match="one kind"):
        identity_separation(distances[:12], people[:12])
    with pytest.raises(VerificationError, match=r"shape \(24,\) for 24"):
        identity_separation(distances, people[:, 0])
    with pytest.raises(VerificationError, match="not finite"):
        identity_separation(distances * torch.nan, people)
    with pytest.raises(BootstrapError, match="num_bootstrap is -1"):
        identity_separation(distances, people, num_bootstrap=-1)


@pytest.mark.parametrize(("pairs", "shown"), [(100, [0.01]), (99, [])])
def test_only_rates_that_one_pair_can_show_are_reported(pairs: int, shown: list[float]) -> None:
    """The nearest pair of two is at 0.5: all below it, and no more, keep a rate of one percent."""
    distances = torch.cat([torch.tensor([0.1, 0.2, 0.6, 0.9]), 0.5 + 0.1 * torch.arange(pairs)])
    same, two = torch.arange(4)[:, None].expand(4, 2), torch.tensor([[0, 1]]).expand(pairs, 2)
    found = identity_separation(distances, torch.cat([same, two]), num_bootstrap=0)
    assert list(found.tar) == shown
    assert [share.value for share in found.tar.values()] == [0.5] * len(shown)
    assert (found.num_same, found.num_different, found.num_people) == (4, pairs, 4)
