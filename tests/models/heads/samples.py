"""Numbers of original implementations, and heads that are given their rows."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from qdgs_lightning.models.heads import (
    AdaFace,
    ArcFace,
    CombinedMargin,
    CosFace,
    CurricularFace,
    MarginHead,
    NormFace,
    SampledHead,
)

DATA = Path(__file__).parents[2] / "data" / "heads" / "by_originals.npz"
CLASSES, DIM = 11, 6

ALL: list[Callable[[int, int], MarginHead]] = [
    NormFace,
    ArcFace,
    CosFace,
    CombinedMargin,
    AdaFace,
    CurricularFace,
]

Head = TypeVar("Head", bound=MarginHead)


def originals() -> dict[str, Tensor]:
    """Return inputs and what the originals made of them."""
    with np.load(DATA) as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def given_rows(head: Head, weight: Tensor) -> Head:
    """Replace a head's rows, in their own type."""
    head.weight = torch.nn.Parameter(weight.clone())
    return head


def rows_and_batch(
    n: int, *, dim: int = DIM, classes: int = CLASSES, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw rows ``[classes, dim]``, embeddings ``[n, dim]`` near their rows, and labels ``[n]``."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, dim, generator=draw)
    labels = torch.randint(classes, (n,), generator=draw)
    noise = torch.randn(n, dim, generator=draw)
    return weight, (10 + 20 * torch.rand(n, 1, generator=draw)) * (weight[labels] + noise), labels


def sampled(
    make: Callable[[int, int], MarginHead], weight: Tensor, **options: float
) -> SampledHead:
    """Make a head with given rows, split over the processes."""
    classes, dim = weight.shape
    head = SampledHead(dim, classes, head=make, **options)  # type: ignore[arg-type]
    head.prepare()
    head.load_state_dict({**head.state_dict(), "weight": weight})
    return head


def gradient(tensor: Tensor) -> Tensor:
    """Return the gradient, which there must be."""
    assert tensor.grad is not None
    return tensor.grad
