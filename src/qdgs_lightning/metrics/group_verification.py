"""Verification within groups: at whose threshold, and how sure."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qdgs_lightning.metrics.bootstrap import Estimate, stratified_draws
from qdgs_lightning.metrics.disparate_impact import check_merge
from qdgs_lightning.metrics.grouped_pairs import GroupedPairs
from qdgs_lightning.metrics.verification import Protocol, VerificationError

_CELLS = 1_000_000  # numbers to hold at once in each of a handful of tensors


class GroupAccuracies(NamedTuple):
    """Accuracies of groups, all at the same kind of threshold, in [0, 1].

    Attributes:
        accuracies: Mean over folds, of each group.
        fold_stds: Standard deviation over folds, of each group (divided by their number).
        mean: Of the groups' accuracies.
        std: Of the groups' accuracies (of the sample: divided by one less than their number). What
            is drawn by chance alone adds to it.
        worst: The group of the lowest accuracy.
        best: The group of the highest.
        disparate_impact: Accuracy of the worst divided by that of the best.
        gap: Accuracy of the best minus that of the worst.
    """

    accuracies: dict[str, Estimate]
    fold_stds: dict[str, float]
    mean: Estimate
    std: Estimate
    worst: str
    best: str
    disparate_impact: Estimate
    gap: Estimate


class GroupErrors(NamedTuple):
    """Error rates of groups, all at the one threshold that keeps a false match rate overall.

    Attributes:
        threshold: The squared distance below which pairs count as one person's.
        false_match: Share of each group's pairs of two people that are accepted.
        false_non_match: Share of each group's pairs of one person that are not.
        false_match_gap: Highest minus lowest rate.
        false_match_ratio: Highest rate divided by the lowest; infinite where that is 0, and NaN
            where there is no false match at all.
        false_non_match_gap: Highest minus lowest rate.
        false_non_match_ratio: Highest rate divided by the lowest.
    """

    threshold: float
    false_match: dict[str, Estimate]
    false_non_match: dict[str, Estimate]
    false_match_gap: Estimate
    false_match_ratio: Estimate
    false_non_match_gap: Estimate
    false_non_match_ratio: Estimate


class GroupVerificationResult(NamedTuple):
    """How well pairs are told apart within groups.

    Attributes:
        protocol: How thresholds were chosen.
        num_same: Pairs of one person, of each group.
        num_different: Pairs of two, of each group.
        own: Each group at thresholds of its own: what papers report for RFW.
        pooled: All groups at the same thresholds.
        merged_own: `own` of the merged groups, whose accuracies are the means of their members'.
        merged_pooled: `pooled` of the merged groups.
        own_thresholds: For each group the squared distances that were its folds' thresholds.
        pooled_thresholds: The squared distances that were all groups' thresholds, one per fold.
        at_false_match_rate: Errors at thresholds that keep a false match rate over all groups.
        num_bootstrap: How many replicates the intervals are of.
        seed: Of the replicates.
    """

    protocol: Protocol
    num_same: dict[str, int]
    num_different: dict[str, int]
    own: GroupAccuracies
    pooled: GroupAccuracies
    merged_own: GroupAccuracies | None
    merged_pooled: GroupAccuracies | None
    own_thresholds: dict[str, tuple[float, ...]]
    pooled_thresholds: tuple[float, ...]
    at_false_match_rate: dict[float, GroupErrors]
    num_bootstrap: int
    seed: int


def group_verification(
    distances: Tensor,
    is_same: Tensor,
    groups: Tensor,
    *,
    names: Sequence[str],
    merge: Mapping[str, Sequence[str]] | None = None,
    protocol: Protocol = "insightface",
    num_folds: int = 10,
    false_match_rates: Sequence[float] = (1e-2, 1e-3),
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> GroupVerificationResult:
    """Compute how well pairs are told apart within groups, at two kinds of thresholds.

    Papers choose a threshold for each group (``own``), which nobody does who lets people through a
    gate: where one group's distances are all shorter, its false matches are hidden. At thresholds
    that all groups share (``pooled``) they show. Fold k of every group is held out together, and
    judged by the threshold that suits all others of all groups best by the same protocol; every
    pair counts the same there, so that large groups have the larger say. Each group's folds are
    contiguous among its own pairs, in their order.

    Intervals are of 95 %, by the percentiles of bootstrap replicates. A replicate draws as many
    pairs with replacement from each kind of pairs in each fold of each group as there are: the
    benchmark's design stays, and no pair gets into both sides of a split. It chooses all thresholds
    anew, for a pooled threshold suits no single group, whose accuracy moves with it: of simulated
    groups that it suits badly such intervals held the truth in about 95 of 100 cases, and those at
    fixed thresholds in 84 to 90. Which groups are worst and best is not chosen anew: among groups
    that are equal every replicate has a worst, and no interval of the ratio would hold 1; as it is,
    89 of 100 do. Pairs share images and identities, of which intervals know nothing: true ones are
    wider.

    Args:
        distances: Squared Euclidean distances of normalised embeddings, in [0, 4], shape ``[n]``.
        is_same: Whether a pair is of one person, bool, shape ``[n]``.
        groups: The place of each pair's group among the names, int64, shape ``[n]``.
        names: What the groups are called, two or more.
        merge: Groups to average in addition, by name, such as ``{"dark": ["african", "indian"],
            "light": ["asian", "caucasian"]}``. To pool their pairs instead, give them one group,
            in an order that brings pairs of each member into each fold.
        protocol: See `verification_accuracy`.
        num_folds: How many folds.
        false_match_rates: Shares of all groups' pairs of two people for which to report errors, at
            the largest threshold that keeps them.
        num_bootstrap: How many replicates; 0 leaves intervals NaN.
        seed: Of the replicates.

    Raises:
        VerificationError: Shapes or names do not fit, or a group has pairs of one kind only, fewer
            pairs than folds, or distances that are not finite.
        DisparateImpactError: A merged group has no, unknown or repeated members.
        BootstrapError: There are fewer than no replicates.

    Example:
        >>> names = ["african", "asian", "caucasian", "indian"]
        >>> result = group_verification(distances, is_same, groups, names=names)
        >>> result.pooled.worst, result.pooled.disparate_impact
        ('african', Estimate(value=0.954, low=0.947, high=0.961))
    """
    pairs = GroupedPairs.of(
        distances, is_same, groups, names=names, protocol=protocol, num_folds=num_folds
    )
    if merge is not None:
        check_merge(merge, dict.fromkeys(names))
    _check_rates(false_match_rates, pairs)
    per_replicate = len(pairs.same) * (1 if protocol == "insightface" else num_folds)
    draws = stratified_draws(
        pairs.strata,
        num_replicates=num_bootstrap,
        seed=seed,
        batch_size=max(1, _CELLS // per_replicate),
    )
    batches = [pairs.measure(draw, false_match_rates) for draw in draws]
    own = torch.cat([batch.own for batch in batches])
    pooled = torch.cat([batch.pooled for batch in batches])
    errors = torch.cat([batch.errors for batch in batches])
    whole = batches[0]
    different, same = pairs.counts.unbind(1)
    return GroupVerificationResult(
        protocol=protocol,
        num_same=dict(zip(names, same.tolist(), strict=True)),
        num_different=dict(zip(names, different.tolist(), strict=True)),
        own=_accuracies(names, own, sizes=same + different),
        pooled=_accuracies(names, pooled, sizes=same + different),
        merged_own=_merged(names, own, merge, sizes=same + different),
        merged_pooled=_merged(names, pooled, merge, sizes=same + different),
        own_thresholds={
            name: tuple(row) for name, row in zip(names, whole.thresholds.tolist(), strict=False)
        },
        pooled_thresholds=tuple(whole.thresholds[-1].tolist()),
        at_false_match_rate={
            rate: _errors(names, float(whole.at_rates[index]), errors[:, index], pairs.counts)
            for index, rate in enumerate(false_match_rates)
        },
        num_bootstrap=num_bootstrap,
        seed=seed,
    )


def _accuracies(names: Sequence[str], folds: Tensor, *, sizes: Tensor) -> GroupAccuracies:
    """Summarise accuracies of folds, ``[1 + r, g, k]``, of groups of ``sizes`` pairs."""
    means = folds.mean(2)
    worst, best = int(means[0].argmin()), int(means[0].argmax())
    return GroupAccuracies(
        accuracies=_estimates(names, means, sizes),
        fold_stds=dict(zip(names, folds[0].std(1, correction=0).tolist(), strict=True)),
        mean=Estimate.of(means.mean(1)),
        std=Estimate.of(means.std(1, correction=1)),
        worst=names[worst],
        best=names[best],
        disparate_impact=Estimate.of(means[:, worst] / means[:, best]),
        gap=Estimate.of(means[:, best] - means[:, worst]),
    )


def _merged(
    names: Sequence[str],
    folds: Tensor,
    merge: Mapping[str, Sequence[str]] | None,
    *,
    sizes: Tensor,
) -> GroupAccuracies | None:
    """Summarise means over members."""
    if merge is None:
        return None
    places = [[names.index(member) for member in members] for members in merge.values()]
    return _accuracies(
        list(merge),
        torch.stack([folds[:, members].mean(1) for members in places], dim=1),
        sizes=torch.stack([sizes[members].sum() for members in places]),
    )


def _errors(names: Sequence[str], threshold: float, rates: Tensor, sizes: Tensor) -> GroupErrors:
    """Summarise rates of false matches and non-matches, ``[1 + r, 2, g]``, of sizes ``[g, 2]``."""
    match, non_match = rates.unbind(1)
    return GroupErrors(
        threshold=threshold,
        false_match=_estimates(names, match, sizes[:, 0]),
        false_non_match=_estimates(names, non_match, sizes[:, 1]),
        **_spread("false_match", match),
        **_spread("false_non_match", non_match),
    )


def _spread(name: str, rates: Tensor) -> dict[str, Estimate]:
    """Compare the groups of the highest and the lowest rate, ``[1 + r, g]``."""
    high, low = rates[:, rates[0].argmax()], rates[:, rates[0].argmin()]
    return {f"{name}_gap": Estimate.of(high - low), f"{name}_ratio": Estimate.of(high / low)}


def _estimates(names: Sequence[str], shares: Tensor, sizes: Tensor) -> dict[str, Estimate]:
    """Give each column ``[1 + r, g]`` its group's name."""
    columns = zip(names, shares.T, sizes.tolist(), strict=True)
    return {name: Estimate.of(column, trials=size) for name, column, size in columns}


def _check_rates(false_match_rates: Sequence[float], pairs: GroupedPairs) -> None:
    """Refuse what is no rate, and warn of rates that the pairs cannot show."""
    count = int(pairs.counts[:, 0].sum())
    for rate in false_match_rates:
        if not 0 <= rate <= 1:
            raise VerificationError(f"A false match rate is {rate:g}; give rates in [0, 1].")
        if rate * count < 1:
            warnings.warn(
                f"{count} pairs of two people cannot show a false match rate of {rate:g}; errors "
                "given for it are those without any false match.",
                stacklevel=3,
            )
