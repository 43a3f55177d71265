"""This process among those that work together; alone where none were started."""

import torch.distributed as dist
from torch import Tensor


def rank_and_world_size() -> tuple[int, int]:
    """Return which process this is, and how many there are: (0, 1) without torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """Add up over all processes, in place; a collective call, without gradient."""
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(values)
    return values
