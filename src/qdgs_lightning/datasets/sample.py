"""Draw pairs of images of a set of identities, within identities and between them."""

from itertools import combinations

import torch
from torch import Tensor

from qdgs_lightning.datasets.verification.draw import draw_different, draw_same
from qdgs_lightning.utils.console import DataError

_ENUMERABLE = 10**6  # pairs that are listed, rather than drawn until there are enough


def sample_pairs(labels: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pairs of images of one identity and of two, all of a kind where there are no more.

    Identities are equally likely within, whatever their numbers of images, and images between. No
    pair is drawn twice.

    Args:
        labels: Of the images, int64, shape ``[m]``.
        n: How many pairs of either kind at most.
        generator: Source of all randomness.

    Returns:
        Rows of pairs of one identity, ``[a, 2]``, and of two, ``[b, 2]``, int64.

    Raises:
        DataError: No identity has two images, or there is one identity only.
    """
    _, labels = torch.unique(labels, return_inverse=True)
    counts = labels.bincount()
    same = int((counts * (counts - 1)).sum()) // 2
    different = (len(labels) ** 2 - int(counts.square().sum())) // 2
    if not same or not different:
        raise DataError(
            f"{len(labels):,} images of {len(counts):,} identities make no pairs of one identity "
            "and of two; bring two identities or more, with several images each."
        )
    if len(labels) * (len(labels) - 1) // 2 <= max(_ENUMERABLE, n):
        every = torch.combinations(torch.arange(len(labels)))
        alike = labels[every[:, 0]] == labels[every[:, 1]]
        within, between = every[alike], every[~alike]
        if different > n:
            between = between[torch.randperm(different, generator=generator)[:n]]
        return (within if same <= n else draw_same(labels, n, generator)), between
    within = _all_within(labels) if same <= n else draw_same(labels, n, generator)
    # Few of very many pairs are of two only where one identity has nearly all images.
    n = min(n, (different + 1) // 2)
    return within, draw_different(labels, torch.zeros_like(labels), n, generator)


def _all_within(labels: Tensor) -> Tensor:
    """List all pairs of one identity, ``[a, 2]``."""
    members: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        members.setdefault(label, []).append(row)
    return torch.tensor([pair for rows in members.values() for pair in combinations(rows, 2)])
