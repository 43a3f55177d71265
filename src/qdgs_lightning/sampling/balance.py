"""Drawing evenly or by quotas: from strata first, from what lies in them next, never too often."""

from collections.abc import Sequence

import torch
from torch import Tensor


def spread(
    n: int, capacity: Tensor, generator: torch.Generator, *, weights: Tensor | None = None
) -> Tensor:
    """Share n draws out as evenly, or as nearly by weight, as capacities allow.

    Args:
        n: Number of draws, not negative.
        capacity: Most draws that each place takes, int64, shape ``[g]``.
        generator: Decides who gets the draws that cannot be divided.
        weights: What draws are proportional to, not negative, float64, shape ``[g]``; None for
            evenly. What cannot be divided goes to the largest remainders.

    Returns:
        Draws per place, int64, shape ``[g]``. They sum to n, or to all capacity if that is less;
        two places that are not full differ by one at most, or each by less than one from what is
        proportional to its weight. A place of no weight gets nothing, nor has it any capacity.
    """
    if weights is not None:
        return _spread_by_weight(n, capacity, weights, generator)
    counts = torch.zeros_like(capacity)
    left = min(n, int(capacity.sum()))
    while left:
        free = (counts < capacity).nonzero().squeeze(1)
        each = left // len(free)
        if each:
            added = (capacity[free] - counts[free]).clamp_(max=each)
        else:
            free = free[torch.randperm(len(free), generator=generator)[:left]]
            added = torch.ones_like(free)
        counts[free] += added
        left -= int(added.sum())
    return counts


def draw_evenly(
    strata: Sequence[Tensor],
    *,
    n: int,
    size: int,
    max_repeats: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
) -> Tensor:
    """Draw rows: evenly over the first stratification, within it over the next, then over rows.

    Args:
        strata: Stratum of every row, coarse to fine, each int64 of shape ``[size]``; none draws
            evenly over all rows.
        n: Number of draws.
        size: Number of rows.
        max_repeats: How often one row may be drawn.
        generator: Source of the randomness.
        weights: What draws from each stratum of the first stratification are proportional to, by
            its number, float64; None for evenly.

    Returns:
        How often each row is drawn, int64, shape ``[size]``; the sum falls short of n only when
        every row, of the strata that have a weight, is drawn `max_repeats` times.
    """
    if not strata:
        return spread(n, torch.full((size,), max_repeats), generator)
    which, member, sizes = torch.unique(strata[0], return_inverse=True, return_counts=True)
    weights = None if weights is None else weights[which]
    quotas = spread(n, sizes * max_repeats, generator, weights=weights)
    if len(sizes) == size:
        return quotas[member]
    counts = torch.zeros(size, dtype=torch.int64)
    for stratum in quotas.nonzero().squeeze(1).tolist():
        rows = (member == stratum).nonzero().squeeze(1)
        counts[rows] = draw_evenly(
            [finer[rows] for finer in strata[1:]],
            n=int(quotas[stratum]),
            size=len(rows),
            max_repeats=max_repeats,
            generator=generator,
        )
    return counts


def _spread_by_weight(
    n: int, capacity: Tensor, weights: Tensor, generator: torch.Generator
) -> Tensor:
    """Share n draws out by weight; see `spread`."""
    capacity = torch.where(weights > 0, capacity, 0)
    total = left = min(n, int(capacity.sum()))
    exact = torch.zeros_like(weights)
    free = capacity > 0
    while left and free.any():
        fair = left * weights / weights[free].sum()
        full = free & (fair >= capacity)
        if not full.any():
            exact[free] = fair[free]
            break
        # What does not fit into a place is for those that still have room.
        exact[full] = capacity[full].double()
        left -= int(capacity[full].sum())
        free &= ~full
    counts = (exact + 1e-9).floor().long()
    # Equal remainders must not differ by the last bit, or the same place would win every time.
    remainders = (exact - counts).round(decimals=9)
    order = torch.randperm(len(counts), generator=generator)
    order = order[remainders[order].argsort(descending=True, stable=True)]
    counts[order[: total - int(counts.sum())]] += 1
    return counts
