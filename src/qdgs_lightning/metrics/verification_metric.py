"""Verification accuracy that adds up over batches and processes."""

import torch
from torch import Tensor
from torchmetrics import Metric

from qdgs_lightning.metrics.verification import (
    Protocol,
    VerificationResult,
    verification_accuracy,
)


class VerificationAccuracy(Metric):
    """Keeps the distance of every pair and computes `verification_accuracy` of all.

    Samplers of several processes pad the data so that all get equally many pairs. Pairs are told
    apart by their places in the set, and each counts once, so the result is that of one process,
    whatever their order was.

    Args:
        protocol: See `verification_accuracy`.
        num_folds: How many folds.

    Raises:
        VerificationError: From `compute`: the pairs have no accuracy.

    Example:
        >>> metric = VerificationAccuracy()
        >>> for first, second, is_same, index in loader:
        ...     distances = (first - second).square().sum(dim=1)
        ...     metric.update(distances, is_same, index)
        >>> metric.compute().accuracy
        0.9943
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    distances: list[Tensor]
    same: list[Tensor]
    places: list[Tensor]

    def __init__(self, *, protocol: Protocol = "insightface", num_folds: int = 10) -> None:
        super().__init__()
        self.protocol = protocol
        self.num_folds = num_folds
        for state in ("distances", "same", "places"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, distances: Tensor, is_same: Tensor, index: Tensor) -> None:
        """Keep one batch.

        Args:
            distances: Squared Euclidean distances of normalised embeddings, shape ``[n]``.
            is_same: Whether a pair is of one person, shape ``[n]``.
            index: Places of the pairs in their set, int64, shape ``[n]``; folds follow them.
        """
        self.distances.append(distances.detach().float())
        self.same.append(is_same.bool())
        self.places.append(index.long())

    def compute(self) -> VerificationResult:
        """Return the accuracy of all pairs of all processes."""
        distances, same, places = (
            _joined(state) for state in (self.distances, self.same, self.places)
        )
        order = places.argsort(stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = places[order][1:] != places[order][:-1]
        kept = order[first]
        return verification_accuracy(
            distances[kept], same[kept], protocol=self.protocol, num_folds=self.num_folds
        )


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """Return one tensor, on the CPU; torchmetrics has joined it where there are processes."""
    if isinstance(state, list):
        return torch.cat(state).cpu() if state else torch.empty(0)
    return state.cpu()
