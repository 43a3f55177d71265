"""Intervals of proportions against scipy's, and against how often they hold the truth."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, t

from qdgs_lightning.metrics.proportions import exact_interval, proportion


def test_single_members_have_the_exact_interval() -> None:
    for hits, size in ((88, 200), (0, 20), (20, 20), (1, 1), (3, 7)):
        exact = binomtest(hits, size).proportion_ci(0.95)
        found = proportion(
            torch.arange(size) < hits, units=torch.arange(size), weights=torch.ones(size)
        )
        assert found == pytest.approx((hits / size, exact.low, exact.high))
    assert exact_interval(0.44, 200) == pytest.approx((0.370, 0.512), abs=0.0005)


def test_copies_are_worth_what_they_are_copies_of() -> None:
    """Twenty images of each of forty: forty members, less what forty know of their variance."""
    member, units = torch.arange(40) < 12, torch.arange(40)
    many = proportion(
        member.repeat_interleave(20), units=units.repeat_interleave(20), weights=torch.ones(800)
    )
    size = 800 * 39 * (t.ppf(0.025, 799) / t.ppf(0.025, 39)) ** 2 / 799
    assert many == pytest.approx((0.3, *exact_interval(0.3, size)))
    weighted = proportion(member, units=units, weights=torch.full((40,), 20.0))
    assert weighted == pytest.approx(proportion(member, units=units, weights=torch.ones(40)))


def test_units_that_are_more_alike_than_chance_tell_no_more_than_their_members() -> None:
    """Folders train and val of nearly one share are not two people who agree."""
    member = torch.cat([torch.arange(100) < 43, torch.arange(100) < 45])
    units = torch.arange(2).repeat_interleave(100)
    share, low, high = proportion(member, units=units, weights=torch.ones(200))
    assert (share, low < 0.37, high > 0.512) == (0.44, True, True)
    many = torch.arange(400) % 4 < 2  # every unit of four has two
    found = proportion(many, units=torch.arange(400) // 4, weights=torch.ones(400))
    assert found == pytest.approx((0.5, *exact_interval(0.5, 400)))


def test_a_share_without_variance_is_worth_its_units() -> None:
    units = torch.arange(30).repeat_interleave(2)
    none = proportion(torch.zeros(60, dtype=torch.bool), units=units, weights=torch.ones(60))
    assert none == pytest.approx((0, 0, 1 - 0.025 ** (1 / 30)))
    one = proportion(torch.arange(9) < 4, units=torch.zeros(9).long(), weights=torch.ones(9))
    assert one == pytest.approx((4 / 9, *exact_interval(4 / 9, 1)))
    nothing = proportion(torch.zeros(0).bool(), units=torch.zeros(0).long(), weights=torch.zeros(0))
    assert all(math.isnan(value) for value in nothing)


@pytest.mark.parametrize(("number", "alike", "share"), [(10, 0.3, 0.5), (20, 0.1, 0.2)])
def test_intervals_of_few_units_hold_the_truth(number: int, alike: float, share: float) -> None:
    """Bootstrap replicates of ten units hold it in about 89 of 100 cases."""
    random = np.random.default_rng(0)
    held, replicates = 0, 300
    for _ in range(replicates):
        scale = 1 / alike - 1
        chances = random.beta(share * scale, (1 - share) * scale, number)
        units = np.repeat(np.arange(number), random.integers(1, 12, number))
        member = random.random(len(units)) < chances[units]
        _, low, high = proportion(
            torch.from_numpy(member), units=torch.from_numpy(units), weights=torch.ones(len(units))
        )
        held += low <= share <= high
    assert held / replicates > 0.92


def test_unequal_weights_count_in_the_share_and_in_its_variance() -> None:
    member = torch.tensor([True, False, True, False, False])
    weights = torch.tensor([1.0, 2.0, 3.0, 1.0, 3.0])
    share = 0.4
    parts = [0.1 * 0.6, -0.2 * 0.4, 0.3 * 0.6, -0.1 * 0.4, -0.3 * 0.4]
    variance = sum(part**2 for part in parts) * 5 / 4
    size = 5 * share * (1 - share) / 4 / variance
    assert size < 5
    found = proportion(member, units=torch.arange(5), weights=weights)
    assert found == pytest.approx((share, *exact_interval(share, size)))
    # Two units, of weights 3 and 7: the parts of a unit go together.
    pair = torch.tensor([0, 0, 1, 1, 1])
    variance = ((parts[0] + parts[1]) ** 2 + sum(parts[2:]) ** 2) * 2
    size = 5 * share * (1 - share) / 4 / variance * (t.ppf(0.025, 4) / t.ppf(0.025, 1)) ** 2
    found = proportion(member, units=pair, weights=weights)
    assert found == pytest.approx((share, *exact_interval(share, min(5, size))))
    nobody = proportion(torch.zeros(5).bool(), units=pair, weights=weights)
    assert nobody == pytest.approx((0, *exact_interval(0, 100 / 58)))
