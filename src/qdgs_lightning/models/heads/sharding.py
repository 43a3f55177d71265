"""Rows of one large matrix, kept apart by several processes, and whole in checkpoints."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from qdgs_lightning.models.heads.checks import HeadError
from qdgs_lightning.utils.ranks import rank_and_world_size


def rows_of_rank(num_rows: int, rank: int, world_size: int) -> slice:
    """Return the contiguous rows that a process keeps; the first processes keep one more.

    Args:
        num_rows: Of the whole matrix.
        rank: Which process.
        world_size: How many there are.
    """
    each, over = divmod(num_rows, world_size)
    start = rank * each + min(rank, over)
    return slice(start, start + each + (rank < over))


def cut_rows(matrix: Tensor, num_rows: int) -> Tensor:
    """Copy this process's rows out of the whole matrix.

    Args:
        matrix: Shape ``[num_rows, ...]``.
        num_rows: How many rows there should be.

    Raises:
        HeadError: The matrix has another number of rows.
    """
    if len(matrix) != num_rows:
        raise HeadError(
            f"A checkpoint has {len(matrix)} class rows and this head has {num_rows}; set "
            f"num_classes={len(matrix)}, or load the backbone alone."
        )
    return matrix[rows_of_rank(num_rows, *rank_and_world_size())].clone()


def gather_rows(rows: Tensor, num_rows: int) -> Tensor:
    """Put the rows of all processes together, on the CPU; a collective call.

    One process after the other sends its rows to all, so that a device never holds more than two
    shards.

    Args:
        rows: What this process keeps, as `rows_of_rank` says, ``[k, ...]``.
        num_rows: Of the whole matrix.

    Returns:
        Shape ``[num_rows, ...]``, the same in every process.
    """
    rank, world_size = rank_and_world_size()
    rows = rows.detach()
    whole = torch.empty(num_rows, *rows.shape[1:], dtype=rows.dtype, device="cpu")
    for source in range(world_size):
        place = rows_of_rank(num_rows, source, world_size)
        sent = rows.contiguous()
        if world_size > 1:
            if source != rank:
                sent = rows.new_empty(place.stop - place.start, *rows.shape[1:])
            dist.broadcast(sent, source)
        whole[place] = sent.cpu()
    return whole


def map_optimizer_rows(
    state: dict[str, Any],
    number: int,
    change: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Return an optimizer's state with one parameter's momenta changed, and all else the same.

    Args:
        state: As of `Optimizer.state_dict`.
        number: Which parameter, counted over all groups.
        change: Applied to every tensor that has rows, such as a momentum; not to step counts.
    """
    entries = dict(state["state"])
    if number in entries:
        entries[number] = {
            name: change(value) if isinstance(value, Tensor) and value.ndim > 1 else value
            for name, value in entries[number].items()
        }
    return {**state, "state": entries}


def keep_optimizer_whole(optimizer: Optimizer, parameter: Tensor, num_rows: int) -> None:
    """Make an optimizer save and load the momenta of a sharded parameter as whole matrices.

    From then on its `state_dict` is a collective call, and what it saved can be loaded by another
    number of processes. What `load_state_dict` is given must be whole.

    Args:
        optimizer: One that updates each element by itself, such as SGD or AdamW.
        parameter: The rows of this process.
        num_rows: Of the whole matrix.

    Raises:
        HeadError: The optimizer does not have the parameter.
    """
    known: Iterable[Tensor] = (p for group in optimizer.param_groups for p in group["params"])
    number = next((n for n, other in enumerate(known) if other is parameter), None)
    if number is None:
        raise HeadError(
            "The optimizer does not have the head's rows; call prepare() of the head before you "
            "give its parameters to the optimizer."
        )
    optimizer.register_state_dict_post_hook(
        lambda _, state: map_optimizer_rows(state, number, lambda x: gather_rows(x, num_rows))
    )
    optimizer.register_load_state_dict_pre_hook(
        lambda _, state: map_optimizer_rows(state, number, lambda x: cut_rows(x, num_rows))
    )
