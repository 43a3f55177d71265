"""Shares from an annotator's labels of all images and the true labels of some, taken together."""

import math
from functools import cached_property

import torch
from torch import Tensor

from qdgs_lightning.metrics.bootstrap import Estimate
from qdgs_lightning.metrics.proportions import (
    cluster_variance,
    effective_size,
    exact_interval,
    kish,
    num_units,
    proportion,
)

_FEWEST = 5  # labelled images that tell the truth about a word
_PRIOR = 0.5  # images of each kind that are taken to be seen besides (Jeffreys)


class LabelledShares:
    """Shares of groups in a set of which an evenly drawn part has true labels.

    Of the images that the annotator calls alike, the labelled ones tell which share is of which
    group; these shares are averaged over the words for all images of the set. This is double
    sampling (Tenenbein, Technometrics 14, 1972), or prediction-powered inference (Angelopoulos et
    al., Science 382, 2023) whose weight lambda is tuned (PPI++, 2023) for every pair of a word and
    a group: shares sum to 1, and for many labels none varies more than that of the labels alone,
    however bad the annotator is. Words for fewer than five labelled images are taken together.

    Args:
        words: What the annotator called each image, int64 from 0, shape ``[n]``.
        truth: The group of each; ``groups`` for none of them, -1 where it is not known, ``[n]``.
            At least one is known.
        groups: How many groups there are.
        units: What was drawn independently, int64 from 0 without gaps, shape ``[n]``.
        weights: How often each image counts, float64, shape ``[n]``.

    Example:
        >>> labelled = LabelledShares(words, truth, groups=2, units=units, weights=weights)
        >>> labelled.estimates[0]
        Estimate(value=0.553, low=0.519, high=0.587)
        >>> labelled.of_labels[0]
        Estimate(value=0.552, low=0.502, high=0.602)
    """

    def __init__(
        self, words: Tensor, truth: Tensor, *, groups: int, units: Tensor, weights: Tensor
    ) -> None:
        self.groups = groups
        self.strata = _strata(words, words[truth >= 0])
        self.truth = truth
        self.units = units
        self.weights = weights / weights.sum()
        self.num_cells = (int(self.strata.max()) + 1) * (groups + 2)
        # of the labelled images
        self._rows = (truth >= 0).nonzero()[:, 0]

    @property
    def cells(self) -> Tensor:
        """Number each image by its stratum and truth, int64 ``[n]``, as `shares` counts them."""
        return self.strata * (self.groups + 2) + self.truth % (self.groups + 2)

    def shares(self, counts: Tensor) -> Tensor:
        """Estimate shares of groups among the images that are of one.

        Args:
            counts: Of each of the `cells`, in the set or in replicates, ``[r, num_cells]``.

        Returns:
            Shares ``[r, groups]``; NaN where there is none.
        """
        means = _within(counts.double().view(len(counts), -1, self.groups + 2))
        totals = means.sum(1)[:, :-1]
        shares: Tensor = totals / totals.sum(1, keepdim=True)
        return shares

    @cached_property
    def of_labels(self) -> tuple[Estimate, ...]:
        """Shares by the labelled images alone, which the annotator has no say in."""
        rows = self._rows[self.truth[self._rows] < self.groups]
        truth, units, weights = self.truth[rows], self.units[rows], self.weights[rows]
        return tuple(
            proportion(truth == group, units=units, weights=weights) for group in range(self.groups)
        )

    @cached_property
    def estimates(self) -> tuple[Estimate, ...]:
        """Shares by both, with intervals of 95 %.

        An interval is the exact one of as many images as the variance of the share, between units
        where these have several images, is worth. Where this comes out wider than that of the
        labels alone, it is as wide as the latter.
        """
        counts = self.cells.bincount(self.weights, minlength=self.num_cells)
        values = self.shares(counts[None])[0].tolist()
        return tuple(self._estimate(group, value) for group, value in enumerate(values))

    def _estimate(self, group: int, value: float) -> Estimate:
        """Give a share its interval."""
        alone = self.of_labels[group]
        if not 0 < value < 1 or math.isnan(alone.low):
            return alone._replace(value=value)
        clear = self._rows[self.truth[self._rows] < self.groups]
        size = effective_size(
            value,
            self._variance(group, value),
            members=len(clear),
            units=num_units(self.units[clear]),
            most=len(self.truth),
        )
        low, high = exact_interval(value, size)
        if high - low <= alone.high - alone.low:
            return Estimate(value, low, high)
        moved = max(0.0, value - alone.high) - max(0.0, alone.low - value)
        return Estimate(value, alone.low + moved, alone.high + moved)

    def _variance(self, group: int, share: float) -> float:
        """Estimate the variance of a share: to first order that of a mean of scores.

        An image of the group scores 1 - share, one of another group -share, and one of none 0. What
        differs between words varies with all images, and what differs within with the labelled.
        """
        sizes, kinds, units, worth = self._labelled
        of_group = kinds[:, group]
        others, none = kinds[:, :-1].sum(1) - of_group, kinds[:, -1]
        scores = torch.tensor([1 - share, -share, 0.0], dtype=torch.float64)
        chances = torch.stack([of_group, others, none], dim=1)
        means = chances @ scores
        influence = self.weights * means[self.strata]
        strata, truth = self.strata[self._rows], self.truth[self._rows]
        own = (truth == group).double() - share * (truth < self.groups) - means[strata]
        weights = self.weights[self._rows]
        scale = sizes / strata.bincount(weights) * (units / (units - 1).clamp(min=1)).sqrt()
        influence[self._rows] += scale[strata] * weights * own
        # A word that was right of all labelled images is not always right.
        possible = torch.tensor([1.0, 1.0, float(none.any())], dtype=torch.float64)
        smooth = chances + _PRIOR * possible / worth[:, None]
        smooth = smooth / smooth.sum(1, keepdim=True)
        unseen = (_spread(smooth, scores) - _spread(chances, scores)).clamp(min=0)
        unseen = (sizes.square() * unseen / (worth - 1).clamp(min=1)).sum()
        of_any = float((sizes * (1 - none)).sum())
        return (cluster_variance(influence, self.units) + float(unseen)) / of_any**2

    @cached_property
    def _labelled(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Describe the strata.

        Returns:
            Their shares of the set ``[s]``, shares of the groups, and of none, among the labelled
            images of each ``[s, groups + 1]``, units of these, and how many equal ones these are
            worth ``[s]``.
        """
        counts = self.cells.bincount(self.weights, minlength=self.num_cells)
        counts = counts.view(-1, self.groups + 2)
        sizes = counts.sum(1)
        kinds = _within(counts[None])[0] / sizes[:, None]
        strata = self.strata[self._rows]
        rows = [self._rows[strata == stratum] for stratum in range(len(sizes))]
        units = [num_units(self.units[each]) for each in rows]
        worth = [kish(self.weights[each], self.units[each]) for each in rows]
        return sizes, kinds, torch.tensor(units), torch.tensor(worth, dtype=torch.float64)


def _within(counts: Tensor) -> Tensor:
    """Spread each stratum over the groups and none, as its labelled images are spread.

    Args:
        counts: Shape ``[r, strata, groups + 2]``; the last are those without a label.

    Returns:
        Shape ``[r, strata, groups + 1]``; strata without a label are spread as all labels are.
    """
    known = counts[:, :, :-1]
    labels = known.sum(2, keepdim=True)
    overall = known.sum(1, keepdim=True) / labels.sum(1, keepdim=True)
    spread = torch.where(labels > 0, known / labels, overall)
    totals: Tensor = counts.sum(2, keepdim=True) * spread
    return totals


def _spread(chances: Tensor, scores: Tensor) -> Tensor:
    """Return the variance of scores ``[k]`` that come with chances ``[s, k]``."""
    return chances @ scores.square() - (chances @ scores).square()


def _strata(words: Tensor, labelled: Tensor) -> Tensor:
    """Number words, ``[n]``, those of too few labelled images together."""
    size = int(words.max()) + 1
    present, counts = words.bincount(minlength=size) > 0, labelled.bincount(minlength=size)
    small = present & (counts < _FEWEST)
    large = present & ~small
    if small.any() and large.any() and counts[small].sum() < _FEWEST:
        small[torch.where(large, counts, len(words) + 1).argmin()] = True
    merged = torch.where(small, size, torch.arange(size))[words]
    numbered: Tensor = torch.unique(merged, return_inverse=True)[1]
    return numbered
