"""Verification within groups that adds up over batches and processes."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torchmetrics import Metric

from qdgs_lightning.metrics.gathered import each_once, joined
from qdgs_lightning.metrics.group_verification import (
    GroupVerificationResult,
    group_verification,
)
from qdgs_lightning.metrics.verification import Protocol


class GroupVerificationAccuracy(Metric):
    """Keeps the distance and the group of every pair and computes `group_verification` of all.

    Pairs are told apart by their places in the set, and each counts once, as in
    `VerificationAccuracy`: the result is that of one process, whatever their order was.

    Args:
        names: What the groups are called, two or more.
        merge: Groups to average in addition; see `group_verification`.
        protocol: See `verification_accuracy`.
        num_folds: How many folds.
        false_match_rates: For which to report errors.
        num_bootstrap: How many replicates the intervals are of; 0 leaves them NaN. A thousand of
            RFW's 24,000 pairs take some five seconds on one core, and protocols other than
            ``insightface`` half a minute.
        seed: Of the replicates.

    Raises:
        VerificationError: From `compute`: the pairs have no accuracy in some group.

    Example:
        >>> metric = GroupVerificationAccuracy(names=["african", "asian", "caucasian", "indian"])
        >>> for first, second, is_same, groups, index in loader:
        ...     distances = (first - second).square().sum(dim=1)
        ...     metric.update(distances, is_same, groups, index)
        >>> metric.compute().pooled.worst
        'african'
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    distances: list[Tensor]
    same: list[Tensor]
    groups: list[Tensor]
    places: list[Tensor]

    def __init__(
        self,
        *,
        names: Sequence[str],
        merge: Mapping[str, Sequence[str]] | None = None,
        protocol: Protocol = "insightface",
        num_folds: int = 10,
        false_match_rates: Sequence[float] = (1e-2, 1e-3),
        num_bootstrap: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.merge = merge
        self.protocol: Protocol = protocol
        self.num_folds = num_folds
        self.false_match_rates = tuple(false_match_rates)
        self.num_bootstrap = num_bootstrap
        self.seed = seed
        for state in ("distances", "same", "groups", "places"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, distances: Tensor, is_same: Tensor, groups: Tensor, index: Tensor) -> None:
        """Keep one batch.

        Args:
            distances: Squared Euclidean distances of normalised embeddings, shape ``[n]``.
            is_same: Whether a pair is of one person, shape ``[n]``.
            groups: The place of each pair's group among the names, int64, shape ``[n]``.
            index: Places of the pairs in their set, int64, shape ``[n]``; folds follow them.
        """
        self.distances.append(distances.detach().float())
        self.same.append(is_same.bool())
        self.groups.append(groups.long())
        self.places.append(index.long())

    def compute(self) -> GroupVerificationResult:
        """Return the result of all pairs of all processes."""
        kept = each_once(joined(self.places))
        distances, same, groups = (
            joined(state)[kept] for state in (self.distances, self.same, self.groups)
        )
        return group_verification(
            distances,
            same,
            groups,
            names=self.names,
            merge=self.merge,
            protocol=self.protocol,
            num_folds=self.num_folds,
            false_match_rates=self.false_match_rates,
            num_bootstrap=self.num_bootstrap,
            seed=self.seed,
        )
