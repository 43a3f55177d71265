"""Which latents make an identity, the same on every rank."""

from typing import Literal

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from qdgs_lightning.identities.grouping import group_by_kmeans, group_by_neighbours

Grouping = Literal["neighbours", "kmeans"]


def group_latents(
    latents: Tensor,
    bins: Tensor,
    *,
    grouping: Grouping,
    size: int,
    random: torch.Generator,
    trainer: Trainer | None,
) -> Tensor:
    """Group latents on rank zero, since another machine could round otherwise; collective.

    Args:
        latents: Shape ``[n, *latent_shape]``.
        bins: The bin of each, which no group leaves, int64, shape ``[n]``.
        grouping: See `group_by_neighbours` and `group_by_kmeans`.
        size: Latents of a group; with k-means, on average.
        random: Source of the randomness of k-means.
        trainer: Whose ranks are to know; None for this process alone.

    Returns:
        The group of each latent, or -1 for none, int64, shape ``[n]``.
    """
    groups = torch.empty(0)
    if trainer is None or trainer.is_global_zero:
        if grouping == "neighbours":
            groups = group_by_neighbours(latents, bins=bins, size=size)
        else:
            groups = group_by_kmeans(latents, bins=bins, random=random, size=size)
    return groups if trainer is None else trainer.strategy.broadcast(groups)
