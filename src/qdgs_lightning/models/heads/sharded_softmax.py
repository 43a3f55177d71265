"""Cross-entropy over logits whose columns are spread over processes, with its gradients."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from qdgs_lightning.utils.ranks import rank_and_world_size, sum_over_ranks


class GatherBatch(torch.autograd.Function):
    """Join the batches of all processes; ``[n, d]`` each, ``[world_size * n, d]`` joined.

    The gradient of a process's part is the sum over all processes, each of which knows it for its
    own columns, times their number: DDP divides the gradients of the backbone by it.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ANN401 (torch gives it no type)
        """Join."""
        return gather_batch(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        """Add up and cut out."""
        rank, world_size = rank_and_world_size()
        if world_size == 1:
            return gradients[0]
        total = sum_over_ranks(gradients[0].clone())
        return total.tensor_split(world_size)[rank] * world_size


def gather_batch(rows: Tensor) -> Tensor:
    """Join the rows of all processes, without gradient; they must be equally many everywhere."""
    world_size = rank_and_world_size()[1]
    if world_size == 1:
        return rows.clone()
    parts = [torch.empty_like(rows) for _ in range(world_size)]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


class ShardedCrossEntropy(torch.autograd.Function):
    r"""Mean cross-entropy of the joined batch; the same number in every process.

    Only three numbers per row go over the network: the largest logit, the sum of exponentials, and
    the target's logit. The gradient is :math:`(p_{ij} - [j = y_i]) / n` for the columns at hand.
    arcface_torch has the same gradient, but a row's loss stops at -log(1e-30) = 69 there.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, columns: Tensor) -> Tensor:  # noqa: ANN401
        """Compute the loss.

        Args:
            ctx: Of torch.
            logits: ``[n, k]``, k columns of this process.
            columns: Where the targets are, ``[n]``; -1 for one of another process.
        """
        largest = logits.amax(dim=1)
        if rank_and_world_size()[1] > 1:
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        shares = logits - largest[:, None]
        here, places = columns >= 0, columns.clamp_min(0)[:, None]
        targets = torch.where(here, shares.gather(1, places)[:, 0], 0.0)
        shares.exp_()
        sums, targets = sum_over_ranks(torch.stack([shares.sum(dim=1), targets]))
        ctx.save_for_backward(shares.div_(sums[:, None]), here, places)
        loss: Tensor = (sums.log() - targets).mean()
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """Return the gradient with respect to the columns at hand."""
        shares, here, places = ctx.saved_tensors
        share = gradients[0] / len(shares)
        found: Tensor = shares * share
        return found.scatter_add_(1, places, (-share * here)[:, None]), None
