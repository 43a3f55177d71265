"""Verification accuracy from embeddings that come in batches, on any number of processes."""

import torch
from torch import Tensor
from torchmetrics import Metric

from qdgs_lightning.metrics.verification.accuracy import (
    Protocol,
    VerificationError,
    VerificationResult,
    verification_accuracy,
)


class VerificationAccuracy(Metric):
    """Keeps the embedding of every image, and computes `verification_accuracy` of the pairs.

    Images come in any order, and some come twice where samplers of several processes pad the data
    so that all get equally many. Embeddings are told apart by the places of their images, so that
    each pair counts once and the result is that of one process.

    Args:
        pairs: Places of the two images of each pair, int64, shape ``[n, 2]``; folds follow it.
        is_same: Whether a pair is of one person, bool, shape ``[n]``.
        protocol: See `verification_accuracy`.
        num_folds: How many folds.

    Attributes:
        distances: Squared Euclidean distance of every pair, on the CPU, shape ``[n]``, once
            `compute` was called.

    Raises:
        VerificationError: From `compute`: an image is missing, or the pairs have no accuracy.

    Example:
        >>> metric = VerificationAccuracy(lfw.pairs, lfw.is_same)
        >>> for images, places in loader:
        ...     metric.update(functional.normalize(backbone(images)), places)
        >>> metric.compute().accuracy
        0.9943
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    embeddings: list[Tensor]
    places: list[Tensor]

    def __init__(
        self,
        pairs: Tensor,
        is_same: Tensor,
        *,
        protocol: Protocol = "insightface",
        num_folds: int = 10,
    ) -> None:
        super().__init__()
        self.pairs = pairs
        self.is_same = is_same
        self.protocol: Protocol = protocol
        self.num_folds = num_folds
        self.distances: Tensor | None = None
        for state in ("embeddings", "places"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor, places: Tensor) -> None:
        """Keep one batch.

        Args:
            embeddings: Of length one, shape ``[n, d]``.
            places: Those of the images, int64, shape ``[n]``.
        """
        self.embeddings.append(embeddings.detach().float())
        self.places.append(places.long())

    def compute(self) -> VerificationResult:
        """Return the accuracy of all pairs, from the images of all processes."""
        embeddings, places = _joined(self.embeddings), _joined(self.places).long()
        wanted = torch.unique(self.pairs)
        if missing := int((~torch.isin(wanted, places.cpu())).sum()):
            raise VerificationError(
                f"{missing} of {len(wanted)} images were not embedded; do without limits on the "
                "number of batches."
            )
        table = embeddings.new_empty(int(places.max()) + 1, embeddings.shape[1])
        table[places] = embeddings
        first, second = (table[column.to(table.device)] for column in self.pairs.T)
        self.distances = (first - second).square().sum(dim=1).cpu()
        return verification_accuracy(
            self.distances, self.is_same, protocol=self.protocol, num_folds=self.num_folds
        )


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """Return one tensor; torchmetrics has joined it where there are processes."""
    if isinstance(state, list):
        return torch.cat(state) if state else torch.empty(0, 1)
    return state
