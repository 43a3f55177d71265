"""Replicates come from their strata, and intervals are those of scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, bootstrap

from qdgs_lightning.metrics import BootstrapError, Estimate
from qdgs_lightning.metrics.bootstrap import stratified_draws

STRATA = torch.tensor([0] * 3 + [2] * 50 + [3] + [7] * 200)


def drawn(num: int, seed: int = 0, batch_size: int = 64) -> torch.Tensor:
    draws = stratified_draws(STRATA, num_replicates=num, seed=seed, batch_size=batch_size)
    return torch.cat(list(draws))


def test_members_stay_in_their_strata_and_all_come_equally_often() -> None:
    draws = drawn(2000)
    assert draws.shape == (2001, len(STRATA))
    assert draws[0].tolist() == list(range(len(STRATA)))
    assert (STRATA[draws] == STRATA).all()
    often = draws[1:].flatten().bincount(minlength=len(STRATA)) / 2000
    assert (often - 1).abs().max() < 5 / math.sqrt(2000)
    assert len(torch.unique(draws[1:], dim=0)) == 2000


def test_a_seed_gives_the_same_draws_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    assert drawn(5).equal(drawn(5))
    assert not drawn(5).equal(drawn(5, seed=1))
    assert torch.get_rng_state().equal(before)


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=len(STRATA))
    ours = Estimate.of(values[drawn(4000).numpy()].mean(axis=1))
    strata = STRATA.numpy()
    parts = [values[strata == s] for s in (0, 2, 7)]
    alone = values[strata == 3].sum()

    def mean(*samples: np.ndarray, axis: int) -> np.ndarray:
        total = sum(sample.sum(axis=axis) for sample in samples)
        return np.asarray((total + alone) / len(values))

    theirs = bootstrap(parts, mean, n_resamples=4000, method="percentile", rng=1)
    assert ours.value == values.mean()
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=width / 20)


def test_ends_are_replicates_even_infinite_ones() -> None:
    replicates = [0.0] + [math.inf] * 3 + [float(x) for x in range(1, 98)] + [math.nan]
    found = Estimate.of([5.0, *replicates])
    # of 101 replicates, 2.5 % lie between the third and the fourth from either end
    assert found == Estimate(5.0, 2.0, math.inf)


def test_no_error_at_all_is_not_none_for_certain() -> None:
    assert Estimate.of([0.0] * 100) == (0, 0, 0)
    found = Estimate.of([0.0] * 100, trials=300)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 300))
    wide = Estimate.of([0.5, *np.linspace(0, 1, 101)], trials=300)
    assert (wide.low, wide.high) == pytest.approx((0.02, 0.98))


@pytest.mark.parametrize("successes", [29, 57, 58])  # a hundredth of which rounds down
def test_shares_are_of_whole_numbers(successes: int) -> None:
    found = Estimate.of([successes / 100] * 5, trials=100)
    low, high = beta.ppf(
        [0.025, 0.975], [successes, successes + 1], [101 - successes, 100 - successes]
    )
    assert (found.low, found.high) == pytest.approx((low, high))


def test_without_replicates() -> None:
    value, low, high = Estimate.of(drawn(0)[:, 4].numpy(), trials=9)
    assert (value, math.isnan(low), math.isnan(high)) == (4, True, True)
    with pytest.raises(BootstrapError, match="num_bootstrap is -1; give 0"):
        drawn(-1)
