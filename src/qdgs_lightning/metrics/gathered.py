"""What processes have gathered of a set whose members some of them saw twice."""

import torch
from torch import Tensor


def joined(state: list[Tensor] | Tensor) -> Tensor:
    """Return one tensor, on the CPU; torchmetrics has joined it where there are processes."""
    if isinstance(state, list):
        return torch.cat(state).cpu() if state else torch.empty(0)
    return state.cpu()


def each_once(places: Tensor) -> Tensor:
    """Return where the members of a set are, in its order, each where it came first.

    Args:
        places: Which member came, int64, shape ``[n]``.

    Returns:
        Indices into ``places``, int64, one for each member that came.
    """
    order = places.argsort(stable=True)
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = places[order][1:] != places[order][:-1]
    return order[first]
