"""Accuracy within groups: what a mean over all images hides."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class GroupAccuracy(Metric):
    r"""Accuracy of every group, their mean, the worst, and the gap between best and worst.

    With :math:`a_g` the accuracy in group g, ``balanced`` is the mean of :math:`a_g`, ``worst`` the
    least, and ``gap`` is :math:`\max a_g - \min a_g`. Groups without a single image are NaN and
    count for none of the three. Sums are exact and add up over processes.

    Args:
        groups: Name of each group; spaces become underscores in keys.

    Example:
        >>> metric = GroupAccuracy(["red", "blue"])
        >>> metric.update(torch.tensor([1, 0, 0]), torch.tensor([1, 1, 0]), torch.tensor([0, 0, 1]))
        >>> {name: float(value) for name, value in metric.compute().items()}
        {'red': 0.5, 'blue': 1.0, 'balanced': 0.75, 'worst': 0.5, 'gap': 0.5}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(self, groups: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(name.replace(" ", "_") for name in groups)
        for state in ("correct", "total"):
            zeros = torch.zeros(len(self.names), dtype=torch.int64)
            self.add_state(state, zeros, dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor, groups: Tensor) -> None:
        """Count one batch.

        Args:
            predictions: Predicted classes, int, shape ``[n]``.
            targets: True classes, int, shape ``[n]``.
            groups: Index of each image's group, int64, shape ``[n]``.
        """
        right = (predictions == targets).to(torch.int64)
        self.correct.index_add_(0, groups, right)
        self.total.index_add_(0, groups, torch.ones_like(right))

    def compute(self) -> dict[str, Tensor]:
        """Give one scalar in [0, 1] per group, and ``balanced``, ``worst`` and ``gap``."""
        # On the CPU in double precision, which Apple's GPUs lack, and in float32 from there.
        total = self.total.cpu()
        accuracy = self.correct.cpu().double() / total
        seen = accuracy[total > 0]
        if len(seen) == 0:
            seen = accuracy
        values = dict(zip(self.names, accuracy.float(), strict=True))
        return values | {
            "balanced": seen.mean().float(),
            "worst": seen.min().float(),
            "gap": (seen.max() - seen.min()).float(),
        }
