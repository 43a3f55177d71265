"""Verification within groups: at whose threshold, and how sure."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from qdgs_lightning.metrics.bootstrap import Estimate
from qdgs_lightning.metrics.disparate_impact import check_merge
from qdgs_lightning.metrics.verification.accuracy import Protocol, VerificationError
from qdgs_lightning.metrics.verification.pair_replicates import (
    times_of_pairs,
    times_of_people,
    without_excess,
)
from qdgs_lightning.metrics.verification.replicates import GroupedPairs

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
        resampled: What the intervals' replicates draw: ``people`` where they are known.
        num_people: How many there are in each group; None where they are not known.
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
    resampled: Literal["people", "pairs"]
    num_people: dict[str, int] | None
    num_bootstrap: int
    seed: int


def group_verification(
    distances: Tensor,
    is_same: Tensor,
    groups: Tensor,
    *,
    names: Sequence[str],
    people: Tensor | None = None,
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

    Intervals are of 95 %, by the percentiles of bootstrap replicates. Where people are known, these
    draw people, and with them their pairs, see `times_of_people`; a variance that is counted thrice
    by this is taken away, see `without_excess`, and no interval is narrower than by pairs. Where
    people are not known, a replicate draws as many pairs with replacement from each kind of pairs
    in each fold of each group as there are; pairs share images and people, of which such intervals
    know nothing: true ones are wider. No pair gets into both sides of a split. All thresholds are
    chosen anew, for a pooled threshold suits no single group, whose accuracy moves with it: of
    simulated groups that it suits badly such intervals held the truth in about 95 of 100 cases, and
    those at fixed thresholds in 84 to 90. Which groups are worst and best is not chosen anew: among
    groups that are equal every replicate has a worst, and no interval of the ratio would hold 1; as
    it is, 89 of 100 do. A rate of which all replicates are alike, such as of no false match at all,
    has the exact interval (Clopper and Pearson) of as many people, or pairs.

    Args:
        distances: Squared Euclidean distances of normalised embeddings, in [0, 4], shape ``[n]``.
        is_same: Whether a pair is of one person, bool, shape ``[n]``.
        groups: The place of each pair's group among the names, int64, shape ``[n]``.
        names: What the groups are called, two or more.
        people: Whom the two images of each pair show, int64, shape ``[n, 2]``; None where it is not
            known.
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
    drawing = _Drawing(num_bootstrap, seed, max(1, _CELLS // per_replicate))
    measure = _Measuring(pairs, tuple(names), merge, tuple(false_match_rates))
    of_pairs = times_of_pairs(pairs.strata, **drawing._asdict())
    found = measure.summary(of_pairs, _Trials.of_pairs(pairs))
    num_people = None
    if people is not None:
        people = _checked(people, is_same)[pairs.order]
        trials = _Trials.of_people(people, pairs)
        num_people = dict(zip(names, trials.all.tolist(), strict=True))
        of_people = times_of_people(people, pairs.groups, **drawing._asdict())
        of_pairs = times_of_pairs(pairs.strata, **drawing._asdict())
        found = without_excess(
            measure.summary(of_people, trials),
            measure.summary(
                (times.masked_fill(pairs.same, 1) for times in of_pairs), _Trials.none(pairs)
            ),
            least=found,
        )
    whole = pairs.measure(torch.ones(1, len(pairs.same)), false_match_rates)
    different, same = pairs.counts.unbind(1)
    return GroupVerificationResult(
        protocol=protocol,
        num_same=dict(zip(names, same.tolist(), strict=True)),
        num_different=dict(zip(names, different.tolist(), strict=True)),
        **found._asdict(),
        own_thresholds={
            name: tuple(row) for name, row in zip(names, whole.thresholds.tolist(), strict=False)
        },
        pooled_thresholds=tuple(whole.thresholds[-1].tolist()),
        resampled="pairs" if people is None else "people",
        num_people=num_people,
        num_bootstrap=num_bootstrap,
        seed=seed,
    )


class _Drawing(NamedTuple):
    """How replicates are drawn; see `times_of_pairs`."""

    num_replicates: int
    seed: int
    batch_size: int


class _Trials(NamedTuple):
    """Of how many independent members the rates of each group are, ``[g]`` each, 0 for not known.

    Attributes:
        different: Those of pairs of two people.
        same: Those of pairs of one person.
        all: Accuracies.
        always: Whether exact intervals are held always, or where replicates do not differ alone.
    """

    different: Tensor
    same: Tensor
    all: Tensor
    always: bool

    @classmethod
    def of_pairs(cls, pairs: GroupedPairs) -> "_Trials":
        """Take pairs for independent."""
        different, same = pairs.counts.unbind(1)
        return cls(different, same, different + same, True)

    @classmethod
    def of_people(cls, people: Tensor, pairs: GroupedPairs) -> "_Trials":
        """Count the people of each group, of whom nothing is known where none differs."""
        kinds = (~pairs.same, pairs.same, torch.ones_like(pairs.same))
        numbers = [
            torch.tensor(
                [
                    len(torch.unique(people[kind & (pairs.groups == group)]))
                    for group in range(len(pairs.counts))
                ]
            )
            for kind in kinds
        ]
        different, same, either = numbers
        return cls(different, same, either, False)

    @classmethod
    def none(cls, pairs: GroupedPairs) -> "_Trials":
        """Ask for no exact intervals."""
        zeros = pairs.counts.new_zeros(len(pairs.counts))
        return cls(zeros, zeros, zeros, False)


class _Summary(NamedTuple):
    """What is estimated from replicates; see `GroupVerificationResult`."""

    own: GroupAccuracies
    pooled: GroupAccuracies
    merged_own: GroupAccuracies | None
    merged_pooled: GroupAccuracies | None
    at_false_match_rate: dict[float, GroupErrors]


class _Measuring(NamedTuple):
    """What replicates are asked for."""

    pairs: GroupedPairs
    names: tuple[str, ...]
    merge: Mapping[str, Sequence[str]] | None
    rates: tuple[float, ...]

    def summary(self, times: Iterable[Tensor], trials: _Trials) -> _Summary:
        """Estimate everything from how often replicates have each pair, the sample first."""
        batches = [self.pairs.measure(each, self.rates) for each in times]
        folds, at_rates = batches[0].folds, batches[0].at_rates
        own, pooled = (
            (torch.cat([getattr(batch, kind) for batch in batches]), of)
            for kind, of in zip(("own", "pooled"), folds, strict=True)
        )
        errors = torch.cat([batch.errors for batch in batches])
        return _Summary(
            own=_accuracies(self.names, *own, trials),
            pooled=_accuracies(self.names, *pooled, trials),
            merged_own=_merged(self.names, *own, self.merge, trials),
            merged_pooled=_merged(self.names, *pooled, self.merge, trials),
            at_false_match_rate={
                rate: _errors(self.names, float(at_rates[index]), errors[:, index], trials)
                for index, rate in enumerate(self.rates)
            },
        )


def _accuracies(
    names: Sequence[str], means: Tensor, folds: Tensor, trials: _Trials
) -> GroupAccuracies:
    """Summarise accuracies, ``[1 + r, g]``, and those of the sample's folds ``[g, k]``."""
    worst, best = int(means[0].argmin()), int(means[0].argmax())
    return GroupAccuracies(
        accuracies=_estimates(names, means, trials.all, always=trials.always),
        fold_stds=dict(zip(names, folds.std(1, correction=0).tolist(), strict=True)),
        mean=Estimate.of(means.mean(1)),
        std=Estimate.of(means.std(1, correction=1)),
        worst=names[worst],
        best=names[best],
        disparate_impact=Estimate.of(means[:, worst] / means[:, best]),
        gap=Estimate.of(means[:, best] - means[:, worst]),
    )


def _merged(
    names: Sequence[str],
    means: Tensor,
    folds: Tensor,
    merge: Mapping[str, Sequence[str]] | None,
    trials: _Trials,
) -> GroupAccuracies | None:
    """Summarise means over members."""
    if merge is None:
        return None
    places = [[names.index(member) for member in members] for members in merge.values()]
    return _accuracies(
        list(merge),
        torch.stack([means[:, members].mean(1) for members in places], dim=1),
        torch.stack([folds[members].mean(0) for members in places]),
        trials._replace(all=torch.stack([trials.all[members].sum() for members in places])),
    )


def _errors(names: Sequence[str], threshold: float, rates: Tensor, trials: _Trials) -> GroupErrors:
    """Summarise rates of false matches and non-matches, ``[1 + r, 2, g]``."""
    match, non_match = rates.unbind(1)
    return GroupErrors(
        threshold=threshold,
        false_match=_estimates(names, match, trials.different, always=trials.always),
        false_non_match=_estimates(names, non_match, trials.same, always=trials.always),
        **_spread("false_match", match),
        **_spread("false_non_match", non_match),
    )


def _spread(name: str, rates: Tensor) -> dict[str, Estimate]:
    """Compare the groups of the highest and the lowest rate, ``[1 + r, g]``."""
    high, low = rates[:, rates[0].argmax()], rates[:, rates[0].argmin()]
    return {f"{name}_gap": Estimate.of(high - low), f"{name}_ratio": Estimate.of(high / low)}


def _estimates(
    names: Sequence[str], shares: Tensor, trials: Tensor, *, always: bool
) -> dict[str, Estimate]:
    """Give each column ``[1 + r, g]`` its group's name."""
    found = {}
    for name, column, size in zip(names, shares.T, trials.tolist(), strict=True):
        drawn = column[~column.isnan()]  # few people may have no pair of a kind
        exact = always or bool((drawn == column[0]).all())
        found[name] = Estimate.of(column, trials=size if exact else None)
    return found


def _checked(people: Tensor, is_same: Tensor) -> Tensor:
    """Refuse people that do not fit pairs.

    Raises:
        VerificationError: Shapes differ, or a pair of one person is of two, or the other way round.
    """
    people, same = people.detach().cpu().long(), is_same.detach().cpu().bool().flatten()
    if people.shape != (len(same), 2):
        raise VerificationError(
            f"people has the shape {list(people.shape)} for {len(same)} pairs; give [n, 2]."
        )
    if wrong := int(((people[:, 0] == people[:, 1]) != same).sum()):
        raise VerificationError(
            f"{wrong} of {len(same)} pairs are of one person by their labels and of two by people, "
            "or the other way round; give people that fit the labels, or leave them out."
        )
    return people


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
