"""Latents that are to pass for images of one person: the nearest ones, by pairs or by clusters."""

import torch
from torch import Tensor

from qdgs_lightning.sampling.errors import SamplingError

_CHUNK = 1024  # rows of a distance matrix that are in memory at once


def group_by_neighbours(
    latents: Tensor, *, bins: Tensor, size: int = 2, dims: int = 64, neighbours: int = 16
) -> Tensor:
    """Group latents into identities of exactly `size`, nearest ones first, within bins.

    Each latent proposes itself with those nearest to it, and proposals are taken from the closest
    to the widest as long as all of their latents are free. What is left over proposes again among
    itself and looks twice as far, until less than one identity is left in a bin. Neighbours are
    sought by the principal components of the latents, and ranked by their distance in all
    coordinates. Nothing is random.

    Args:
        latents: Shape ``[n, ...]``.
        bins: Coarse bin of each, int64, shape ``[n]``; no identity lies in two.
        size: Latents of an identity.
        dims: Principal components to seek neighbours by.
        neighbours: How many are looked at first.

    Returns:
        Identity of each latent, int64, shape ``[n]``, counted from 0, in the order of bins; -1 for
        those, fewer than `size` in each bin, that are left out.

    Raises:
        SamplingError: A number is not positive.

    Example:
        >>> latents = torch.tensor([[0.0], [5.0], [0.1], [5.2], [9.0]])
        >>> group_by_neighbours(latents, bins=torch.zeros(5, dtype=torch.int64))
        tensor([ 0,  1,  0,  1, -1])
    """
    for name, value in (("size", size), ("dims", dims), ("neighbours", neighbours)):
        if value < 1:
            raise SamplingError(f"The {name} of a grouping must be 1 or more, not {value}.")
    latents = latents.flatten(1).float()
    reduced = _reduced(latents, dims)
    groups = torch.full((len(latents),), -1, dtype=torch.int64)
    found = 0
    for which in torch.unique(bins).tolist():
        free = (bins == which).nonzero().flatten()
        if size == 1:
            groups[free] = found + torch.arange(len(free))
            found += len(free)
            continue
        look = max(neighbours, size - 1)
        while len(free) >= size:
            members = free[_closest_groups(latents[free], reduced[free], size=size, look=look)]
            groups[members] = found + torch.arange(len(members))[:, None]
            found += len(members)
            free = free[groups[free] < 0]
            look *= 2
    return groups


def group_by_kmeans(
    latents: Tensor, *, bins: Tensor, random: torch.Generator, size: int = 2, iterations: int = 20
) -> Tensor:
    """Group latents by k-means within bins, as published, for comparison.

    There is a cluster for every `size` latents, rounded up. Their sizes differ, from one latent to
    many, and time grows with the square of the number of latents.

    Args:
        latents: Shape ``[n, ...]``.
        bins: Coarse bin of each, int64, shape ``[n]``; no identity lies in two.
        random: Chooses the latents that the centres begin at.
        size: Latents of an identity on average.
        iterations: Of Lloyd's algorithm, at most.

    Returns:
        Identity of each latent, int64, shape ``[n]``, counted from 0, in the order of bins.

    Raises:
        SamplingError: A number is not positive.
    """
    for name, value in (("size", size), ("iterations", iterations)):
        if value < 1:
            raise SamplingError(f"The {name} of a grouping must be 1 or more, not {value}.")
    latents = latents.flatten(1).float()
    groups = torch.empty(len(latents), dtype=torch.int64)
    found = 0
    for which in torch.unique(bins).tolist():
        rows = (bins == which).nonzero().flatten()
        clusters = _lloyd(latents[rows], -(-len(rows) // size), iterations, random)
        # Clusters that lost all their latents are no identities.
        names, clusters = torch.unique(clusters, return_inverse=True)
        groups[rows] = found + clusters
        found += len(names)
    return groups


def spread_within(latents: Tensor, groups: Tensor) -> float:
    """Return the mean distance between two latents of one identity, over all such pairs.

    Args:
        latents: Shape ``[n, ...]``.
        groups: Identity of each, shape ``[n]``; negative ones count as none.

    Returns:
        The Euclidean distance; NaN where no identity has two latents.
    """
    order = groups.argsort(stable=True)
    order = order[(groups < 0).sum() :]
    latents, groups = latents.flatten(1)[order], groups[order]
    total, pairs = 0.0, 0
    for offset in range(1, len(order)):
        same = groups[offset:] == groups[:-offset]
        if not same.any():
            break
        total += float((latents[offset:][same] - latents[:-offset][same]).norm(dim=1).sum())
        pairs += int(same.sum())
    return total / pairs if pairs else float("nan")


def _reduced(latents: Tensor, dims: int) -> Tensor:
    """Return about the first principal components of ``[n, d]``, or all that is there if fewer."""
    if latents.shape[1] <= dims or len(latents) <= dims:
        return latents
    centred = latents - latents.mean(dim=0)
    # Subspace iteration from a start that is always the same (Halko et al. 2011, algorithm 4.4).
    basis = torch.randn(latents.shape[1], dims, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    return centred @ basis


def _closest_groups(latents: Tensor, reduced: Tensor, *, size: int, look: int) -> Tensor:
    """Return disjoint groups of rows, ``[g, size]``, closest first; at least one."""
    near = _nearest(reduced, min(look, len(latents) - 1))
    distances = torch.empty(near.shape)
    for start in range(0, len(latents), _CHUNK):
        part = slice(start, start + _CHUNK)
        # One column after the other: all at once would take much memory where latents are wide.
        for column in range(near.shape[1]):
            apart = latents[part] - latents[near[part, column]]
            distances[part, column] = apart.square().sum(dim=1)
    distances, order = distances.sort(dim=1, stable=True)
    others = near.gather(1, order).unfold(1, size - 1, 1)  # [n, proposals of each, size - 1]
    width = distances[:, size - 2 :].flatten()
    proposers = torch.arange(len(latents))[:, None, None].expand(-1, others.shape[1], -1)
    proposals = torch.cat([proposers, others], dim=2).flatten(0, 1)
    free = bytearray(b"\1") * len(latents)
    taken = []
    for members in proposals[width.argsort(stable=True)].tolist():
        if all(free[row] for row in members):
            for row in members:
                free[row] = 0
            taken.append(members)
    return torch.tensor(taken)


def _nearest(points: Tensor, count: int) -> Tensor:
    """Return the nearest other rows of each row of ``[n, d]``, nearest first, ``[n, count]``."""
    squares = points.square().sum(dim=1)
    found = []
    for start in range(0, len(points), _CHUNK):
        part = points[start : start + _CHUNK]
        # Without what is the same for all of a row, which changes no order.
        apart = torch.addmm(squares, part, points.T, alpha=-2)
        apart[torch.arange(len(part)), torch.arange(start, start + len(part))] = torch.inf
        found.append(apart.topk(count, dim=1, largest=False).indices)
    return torch.cat(found)


def _lloyd(points: Tensor, clusters: int, iterations: int, random: torch.Generator) -> Tensor:
    """Return the cluster of each row of ``[n, d]`` after some iterations, or at a fixed point."""
    centres = points[torch.randperm(len(points), generator=random)[:clusters]]
    assigned = torch.full((len(points),), -1)
    for _ in range(iterations):
        squares = centres.square().sum(dim=1)
        nearest = torch.cat(
            [
                torch.addmm(squares, points[start : start + _CHUNK], centres.T, alpha=-2).argmin(1)
                for start in range(0, len(points), _CHUNK)
            ]
        )
        if torch.equal(nearest, assigned):
            break
        assigned = nearest
        counts = assigned.bincount(minlength=clusters)[:, None]
        means = torch.zeros_like(centres).index_add_(0, assigned, points) / counts
        centres = torch.where(counts > 0, means, centres)
    return assigned
