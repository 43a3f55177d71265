"""Pairs in groups, many bootstrap replicates of which are judged at once."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qdgs_lightning.metrics.verification.accuracy import (
    Protocol,
    Scale,
    VerificationError,
    check_pairs,
    contiguous_folds,
)


class Measured(NamedTuple):
    """Numbers of replicates; thresholds are those of the first.

    Attributes:
        own: Accuracies at each group's own thresholds, ``[r, g]``.
        pooled: Accuracies at thresholds of all groups, ``[r, g]``.
        folds: Own and pooled accuracies of the folds of the first, ``[2, g, k]``.
        errors: Rates of false matches and of false non-matches, ``[r, f, 2, g]``.
        thresholds: Own ones, and the pooled ones last, ``[g + 1, k]``.
        at_rates: Thresholds that keep false match rates, ``[f]``.
    """

    own: Tensor
    pooled: Tensor
    folds: Tensor
    errors: Tensor
    thresholds: Tensor
    at_rates: Tensor


class GroupedPairs(NamedTuple):
    """Pairs sorted by groups, their folds, and kinds.

    Attributes:
        distances: Squared distances, float64 ``[n]``.
        same: Whether they are of one person, ``[n]``.
        groups: Their groups, ``[n]``.
        folds: Their folds, ``[n]``.
        strata: Group, fold and kind as one number, in ascending order, ``[n]``.
        order: The place of each before they were sorted, ``[n]``.
        counts: Pairs of two people and of one in each group, ``[g, 2]``.
        scopes: Where each group's pairs are, and last all, with their scales.
    """

    distances: Tensor
    same: Tensor
    groups: Tensor
    folds: Tensor
    strata: Tensor
    order: Tensor
    counts: Tensor
    scopes: list[tuple[slice, Scale]]

    @classmethod
    def of(
        cls,
        distances: Tensor,
        is_same: Tensor,
        groups: Tensor,
        *,
        names: Sequence[str],
        protocol: Protocol,
        num_folds: int,
    ) -> "GroupedPairs":
        """Check and sort pairs; see `group_verification`.

        Raises:
            VerificationError: They have no accuracy in some group.
        """
        distances = distances.detach().cpu().double().flatten()
        same = is_same.detach().cpu().bool().flatten()
        groups = groups.detach().cpu().long().flatten()
        _check_groups(distances, same, groups, names)
        folds = torch.empty_like(groups)
        for index, name in enumerate(names):
            mine = groups == index
            check_pairs(
                distances[mine],
                same[mine],
                protocol=protocol,
                num_folds=num_folds,
                whose=f"Group {name!r}: ",
            )
            folds[mine] = contiguous_folds(int(mine.sum()), num_folds)
        strata, order = ((groups * num_folds + folds) * 2 + same).sort(stable=True)
        distances, same, groups, folds = (x[order] for x in (distances, same, groups, folds))
        counts = (groups * 2 + same).bincount(minlength=2 * len(names)).view(-1, 2)
        ends = [0, *counts.sum(1).cumsum(0).tolist()]
        places = [*map(slice, ends[:-1], ends[1:]), slice(0, ends[-1])]
        scopes = [(place, Scale.of(distances[place], protocol)) for place in places]
        return cls(distances, same, groups, folds, strata, order, counts, scopes)

    def measure(self, times: Tensor, false_match_rates: Sequence[float]) -> Measured:
        """Compute all numbers of replicates, each with thresholds of its own.

        Args:
            times: How often each replicate has each pair, whole numbers, shape ``[r, n]``; the
                first is the sample itself if its folds are to be given.
            false_match_rates: For which to choose thresholds.
        """
        right, thresholds = [], []
        for place, scale in self.scopes:
            judged, chosen = scale.judge(self.same[place], self.folds[place], times[:, place])
            right.append(judged)
            thresholds.append(chosen[0])
        num_groups, num_folds = len(self.counts), len(thresholds[0])
        cells = self.groups * num_folds + self.folds
        sizes = cells.bincount().view(num_groups, num_folds)
        folds, means = [], []
        for judged in (torch.cat(right[:-1], dim=1), right[-1]):
            accuracies, drawn = (
                part.view(-1, num_groups, num_folds) for part in _shares(judged, cells, times)
            )
            folds.append(accuracies[0])
            # Folds count by how much of each was drawn: alike where it is as much as there was.
            parts = drawn / sizes
            means.append((accuracies.nan_to_num() * parts).sum(2) / parts.sum(2))
        errors = torch.zeros(len(times), len(false_match_rates), 2, num_groups).double()
        at_rates = torch.zeros(len(false_match_rates)).double()
        for index, rate in enumerate(false_match_rates):
            chosen = _keeping(rate, self.distances[~self.same], times[:, ~self.same])
            wrong = (self.distances < chosen[:, None]) != self.same
            shares, _ = _shares(wrong, self.same * num_groups + self.groups, times)
            errors[:, index] = shares.view(-1, 2, num_groups)
            at_rates[index] = chosen[0]
        own, pooled = means
        return Measured(own, pooled, torch.stack(folds), errors, torch.stack(thresholds), at_rates)


def _shares(flags: Tensor, cells: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Return which share of each cell is true, ``[r, n]`` to float64 ``[r, c]``, and its size."""
    number = int(cells.max()) + 1
    sums = torch.zeros(2, len(times), number)  # which counts exactly up to 2^24
    for row, values in zip(sums, (flags * times, times), strict=True):
        row.index_add_(1, cells, values)
    true, all_ = sums.double()
    return true / all_, all_


def _keeping(rate: float, different: Tensor, times: Tensor) -> Tensor:
    """Return the least distance that is not accepted if false matches keep a rate, ``[r]``.

    Args:
        rate: Which share may match.
        different: Distances of pairs of two people, shape ``[n]``.
        times: How often each replicate has each of them, shape ``[r, n]``.
    """
    ascending, order = different.sort()
    up_to = times[:, order].double().cumsum(1)
    counts = up_to[:, -1]
    # divided and compared as in an ROC curve, so that both allow the same
    allowed = (rate * counts).floor()
    allowed += ((allowed + 1) / counts <= rate).double()
    allowed -= (allowed / counts > rate).double()
    place = torch.searchsorted(up_to, allowed[:, None], right=True)[:, 0]
    ends = torch.cat([ascending, ascending.new_tensor([torch.inf])])
    return torch.where(allowed < counts, ends[place.clamp(max=len(ascending))], torch.inf)


def _check_groups(distances: Tensor, same: Tensor, groups: Tensor, names: Sequence[str]) -> None:
    """Refuse groups that do not fit pairs or names."""
    if not len(distances) == len(same) == len(groups):
        raise VerificationError(
            f"There are {len(distances)} distances, {len(same)} labels and {len(groups)} groups; "
            "give one for each pair."
        )
    if len(names) < 2 or len(set(names)) < len(names):
        raise VerificationError(
            f"The groups are called {', '.join(names) or 'nothing'}; give two different names or "
            "more."
        )
    low, high = (int(x) for x in groups.aminmax()) if len(groups) else (0, 0)
    if low < 0 or high >= len(names):
        raise VerificationError(
            f"Groups go from {low} to {high}, but the names are for 0 to {len(names) - 1} "
            f"({', '.join(names)}); name every group."
        )
    counts = groups.bincount(minlength=len(names)).tolist()
    if missing := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise VerificationError(
            f"There are no pairs of {', '.join(missing)}; bring them, or leave the name out."
        )
