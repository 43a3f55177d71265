"""Proportions with intervals, of members that are drawn one by one or in clusters."""

import math

from scipy.stats import beta, t
from torch import Tensor

from qdgs_lightning.metrics.bootstrap import CONFIDENCE, Estimate

_TAIL = (1 - CONFIDENCE) / 2


def exact_interval(share: float, size: float) -> tuple[float, float]:
    """Compute the interval of 95 % of a share of so many independent members.

    That of Clopper and Pearson (Biometrika 26, 1934), which never holds the truth in fewer cases.

    Args:
        share: In [0, 1].
        size: How many members; a fraction where they are worth so many.

    Example:
        >>> exact_interval(0.44, 200)
        (0.370..., 0.511...)
    """
    hits, misses = share * size, (1 - share) * size
    low = float(beta.ppf(_TAIL, hits, misses + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - _TAIL, hits + 1, misses)) if misses > 0 else 1.0
    return low, high


def proportion(member: Tensor, *, units: Tensor, weights: Tensor) -> Estimate:
    """Estimate a share, and its interval of 95 %.

    Of members that are units of their own and count alike it is the exact one. Members of one unit
    resemble each other: they are worth as many independent ones as the variance between units
    says, with a correction for how few units tell it (Korn and Graubard, Survey Methodology 24,
    1998), and never more than there are. A share of 0 or 1, or of a single unit, shows no variance:
    it is worth as many members as there are units of equal weight (Kish).

    Args:
        member: Whether each has what the share is of, bool, shape ``[n]``.
        units: The unit of each, int64 from 0, shape ``[n]``.
        weights: How often each counts, shape ``[n]``.

    Returns:
        The share; all NaN of no member.
    """
    size = len(member)
    if size == 0:
        return Estimate(math.nan, math.nan, math.nan)
    share = float((weights.double() * member).sum() / weights.double().sum())
    weights = weights.double() / weights.sum()
    number = num_units(units)
    worth = kish(weights, units)
    if 0 < share < 1 and number > 1:
        variance = cluster_variance(weights * (member.double() - share), units)
        worth = effective_size(share, variance, members=size, units=number, most=size)
    return Estimate(share, *exact_interval(share, worth))


def num_units(units: Tensor) -> int:
    """Count units, given by the unit of each member, int64 from 0."""
    return int(units.bincount().count_nonzero())


def cluster_variance(influence: Tensor, units: Tensor) -> float:
    """Compute the variance of an estimate from what each member, ``[n]``, contributes to it."""
    number = num_units(units)
    return float(units.bincount(influence).square().sum()) * number / max(number - 1, 1)


def effective_size(share: float, variance: float, *, members: int, units: int, most: int) -> float:
    """Say how many independent members an estimated share is worth.

    Args:
        share: In (0, 1).
        variance: Of the estimate.
        members: How many members it is of.
        units: Of how many units these are.
        most: The most that it may be worth.
    """
    if members < 2 or variance == 0:
        return float(most)
    # members / design effect, where as many independent ones vary by p (1 - p) / (members - 1)
    size = members * share * (1 - share) / (members - 1) / variance
    if 1 < units < members:
        size *= float(t.ppf(_TAIL, members - 1) / t.ppf(_TAIL, units - 1)) ** 2
    return min(float(most), size)


def kish(weights: Tensor, units: Tensor) -> float:
    """Count as how many units of equal weight some of unequal weights are worth."""
    per_unit = units.bincount(weights.double())
    return float(per_unit.sum() ** 2 / per_unit.square().sum())
