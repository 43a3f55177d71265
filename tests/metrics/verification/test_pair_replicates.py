"""How often pairs come in replicates: counts that must agree, and closed forms of intervals."""

import math
from typing import NamedTuple

import pytest
import torch

from qdgs_lightning.metrics.bootstrap import Estimate
from qdgs_lightning.metrics.verification.pair_replicates import (
    times_of_pairs,
    times_of_people,
    without_excess,
)


def test_pairs_come_from_their_own_stratum() -> None:
    strata = torch.tensor([0, 0, 1, 2, 2, 2])
    times = torch.cat(list(times_of_pairs(strata, num_replicates=50, seed=3, batch_size=7)))
    assert times.shape == (51, 6)
    assert times[0].tolist() == [1] * 6
    for stratum, size in ((0, 2), (1, 1), (2, 3)):
        assert (times[:, strata == stratum].sum(1) == size).all()
    assert (times[1:] != 1).any(0).tolist() == [True, True, False, True, True, True]


def test_a_pair_of_two_comes_as_often_as_the_one_times_the_other() -> None:
    """Each person has a pair of their own, which shows how often they are drawn."""
    people = torch.tensor([[70, 70], [5, 5], [9, 9], [30, 30], [5, 70], [70, 9], [30, 5]])
    groups = torch.tensor([1, 1, 1, 0, 1, 1, 0])  # 5 is in both, and at home in the first
    parts = times_of_people(people, groups, num_replicates=60, seed=1, batch_size=8)
    times = torch.cat(list(parts))
    assert times.shape == (61, 7)
    assert times[0].tolist() == [1] * 7
    alone = dict(zip((70, 5, 9, 30), times[:, :4].T, strict=True))
    for column, (one, other) in enumerate(people[4:].tolist(), start=4):
        assert torch.equal(times[:, column], alone[one] * alone[other])
    assert (alone[5] + alone[30] == 2).all()
    assert (alone[70] + alone[9] == 2).all()
    assert all(number.unique().tolist() == [0, 1, 2] for number in alone.values())


class _Rates(NamedTuple):
    rate: Estimate
    pairs: int


def test_the_variance_of_pairs_of_two_is_taken_away_twice() -> None:
    people, different = Estimate(0.5, 0.2, 0.9), Estimate(0.5, 0.4, 0.7)
    least = Estimate(0.5, 0.45, 0.52)
    low, high = 0.5 - math.sqrt(0.3**2 - 2 * 0.1**2), 0.5 + math.sqrt(0.4**2 - 2 * 0.2**2)
    found = without_excess(
        {"a": _Rates(people, 7)}, {"a": _Rates(different, 7)}, least={"a": _Rates(least, 7)}
    )
    assert found["a"].pairs == 7
    assert found["a"].rate == pytest.approx((0.5, low, high))


def test_no_interval_is_less_than_the_least() -> None:
    narrow, wide = Estimate(0.5, 0.49, 0.5), Estimate(0.5, 0.3, 0.6)
    assert without_excess(narrow, wide, least=wide) == pytest.approx((0.5, 0.3, 0.6))
    unknown = Estimate(0.5, math.nan, 0.9)
    found = without_excess(unknown, Estimate(0.5, 0.4, math.inf), least=wide)
    assert math.isnan(found.low)
    assert found.high == 0.9
