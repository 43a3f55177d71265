"""Drawing evenly: from strata first, from what lies in them next, and never too often."""

from collections.abc import Sequence

import torch
from torch import Tensor


def spread(n: int, capacity: Tensor, generator: torch.Generator) -> Tensor:
    """Share n draws out as evenly as capacities allow.

    Args:
        n: Number of draws, not negative.
        capacity: Most draws that each place takes, int64, shape ``[g]``.
        generator: Decides who gets the draws that cannot be divided.

    Returns:
        Draws per place, int64, shape ``[g]``. They sum to n, or to all capacity if that is less;
        two places that are not full differ by one at most.
    """
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
    strata: Sequence[Tensor], *, n: int, size: int, max_repeats: int, generator: torch.Generator
) -> Tensor:
    """Draw rows: evenly over the first stratification, within it over the next, then over rows.

    Args:
        strata: Stratum of every row, coarse to fine, each int64 of shape ``[size]``; none draws
            evenly over all rows.
        n: Number of draws.
        size: Number of rows.
        max_repeats: How often one row may be drawn.
        generator: Source of the randomness.

    Returns:
        How often each row is drawn, int64, shape ``[size]``; the sum falls short of n only when
        every row is drawn `max_repeats` times.
    """
    if not strata:
        return spread(n, torch.full((size,), max_repeats), generator)
    _, member, sizes = torch.unique(strata[0], return_inverse=True, return_counts=True)
    quotas = spread(n, sizes * max_repeats, generator)
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
