"""Grouping latents into identities."""

from itertools import combinations

import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from qdgs_lightning.identities import group_by_kmeans, group_by_neighbours, spread_within
from qdgs_lightning.identities.grouping import _reduced
from qdgs_lightning.sampling import SamplingError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def members(groups: Tensor) -> list[list[int]]:
    """Rows of each identity."""
    return [(groups == g).nonzero().flatten().tolist() for g in range(int(groups.max()) + 1)]


def greedy_pairs(latents: Tensor) -> set[tuple[int, ...]]:
    """Match the closest two of all that are free, again and again, by looking at every pair."""
    distances = torch.cdist(latents.double(), latents.double())
    free = set(range(len(latents)))
    pairs: set[tuple[int, ...]] = set()
    while len(free) > 1:
        pair = min(combinations(sorted(free), 2), key=lambda p: float(distances[p]))
        pairs.add(pair)
        free -= set(pair)
    return pairs


def test_pairs_are_those_of_exhaustive_greedy_matching() -> None:
    latents, bins = normal(61, 5), torch.zeros(61, dtype=torch.int64)
    groups = group_by_neighbours(latents, bins=bins, neighbours=60)
    assert {tuple(rows) for rows in members(groups)} == greedy_pairs(latents)


def greedy_groups(latents: Tensor, size: int) -> set[tuple[int, ...]]:
    """Take proposals from the closest to the widest: a row and some that are next in distance."""
    distances = torch.cdist(latents.double(), latents.double())
    free, groups = set(range(len(latents))), set()
    while len(free) >= size:
        proposals = []
        for row in free:
            others = sorted(free - {row}, key=lambda other: float(distances[row, other]))
            for first in range(len(others) - size + 2):
                group = others[first : first + size - 1]
                proposals.append((float(distances[row, group[-1]]), (row, *group)))
        for _, proposed in sorted(proposals):
            if free.issuperset(proposed):
                free -= set(proposed)
                groups.add(tuple(sorted(proposed)))
    return groups


@pytest.mark.parametrize("size", [2, 3, 4])
def test_distances_count_in_all_coordinates_even_where_few_are_sought_by(size: int) -> None:
    latents, bins = normal(31, 40), torch.zeros(31, dtype=torch.int64)
    groups = group_by_neighbours(latents, bins=bins, size=size, neighbours=30, dims=3)
    assert {tuple(rows) for rows in members(groups)} == greedy_groups(latents, size)


def test_neighbours_are_sought_by_principal_components() -> None:
    # Four directions of large spread, far from the origin along a fifth.
    latents = normal(200, 4) @ (3 * normal(4, 90, seed=1)) + 0.1 * normal(200, 90, seed=2)
    latents += 500 * normal(1, 90, seed=3)
    expected = PCA(n_components=4, svd_solver="full").fit_transform(latents.double().numpy())
    assert _reduced(latents, 4).shape == (200, 4)
    for few in (latents[:, :4], latents[:4]):  # which have no more components
        assert torch.equal(_reduced(few, 4), few)
    found = torch.pdist(_reduced(latents, 4).double())
    torch.testing.assert_close(found, torch.pdist(torch.from_numpy(expected)), rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(6,), (4, 40)])
def test_sizes_are_exact_and_no_identity_lies_in_two_bins(
    size: int, shape: tuple[int, ...]
) -> None:
    latents, bins = normal(200, *shape), torch.arange(200) ** 2 % 7 % 3
    # A few neighbours make the search go wider, where leftovers remain.
    groups = group_by_neighbours(latents, bins=bins, size=size, neighbours=2, dims=8)
    for rows in members(groups):
        assert len(rows) == size
        assert len(set(bins[rows].tolist())) == 1
    left = bins[groups < 0].bincount(minlength=3)
    assert left.tolist() == [int(n) % size for n in bins.bincount()]
    again = group_by_neighbours(latents, bins=bins, size=size, neighbours=2, dims=8)
    assert torch.equal(groups, again)


def test_twins_in_a_wide_space_are_found_by_their_components() -> None:
    # Twenty components tell faces apart; the rest would drown them in a random projection.
    basis = normal(20, 1000, seed=1)
    latents = (normal(150, 20) @ basis).repeat_interleave(2, dim=0) + 7 * normal(300, 1000, seed=2)
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(3))
    bins = torch.zeros(300, dtype=torch.int64)
    groups = group_by_neighbours(latents[shuffled], bins=bins, neighbours=3)
    for a, b in members(groups):
        assert shuffled[a] // 2 == shuffled[b] // 2


def test_pairs_are_closer_than_those_of_k_means_whose_sizes_differ() -> None:
    latents, bins = normal(600, 30), torch.zeros(600, dtype=torch.int64)
    pairs = group_by_neighbours(latents, bins=bins)
    random = torch.Generator().manual_seed(0)
    clusters = group_by_kmeans(latents, bins=bins, random=random)
    assert spread_within(latents, pairs) < spread_within(latents, clusters)
    assert (clusters >= 0).all()
    sizes = clusters.bincount()
    assert sizes.min() >= 1
    assert len(set(sizes.tolist())) > 2


def test_k_means_of_one_latent_each_in_one_step_leaves_all_apart() -> None:
    latents, bins = normal(30, 4), torch.arange(30) % 3
    groups = group_by_kmeans(
        latents, bins=bins, random=torch.Generator().manual_seed(0), size=1, iterations=1
    )
    assert sorted(groups.tolist()) == list(range(30))
    assert sorted(groups[bins == 1].tolist()) == list(range(10, 20))  # in the order of bins


def test_k_means_finds_clusters_that_are_there() -> None:
    truth = torch.arange(60) % 6
    latents = 100 * normal(6, 4)[truth] + normal(60, 4)
    bins = (truth >= 3).long()
    random = torch.Generator().manual_seed(5)
    groups = group_by_kmeans(latents, bins=bins, size=10, random=random, iterations=100)
    for rows in members(groups):
        assert len(set(bins[rows].tolist())) == 1
    # A fixed point: each is nearest to the mean of its own cluster, of those of its bin.
    means = torch.stack([latents[rows].mean(dim=0) for rows in members(groups)])
    home = torch.stack([bins[rows[0]] for rows in members(groups)])
    distances = torch.cdist(latents, means)
    distances[bins[:, None] != home] = torch.inf
    assert torch.equal(distances.argmin(dim=1), groups)


def test_spread_is_the_mean_over_pairs() -> None:
    latents, groups = normal(30, 4), torch.arange(30) % 7 - 1
    pairs = [p for p in combinations(range(30), 2) if groups[p[0]] == groups[p[1]] >= 0]
    expected = sum(float((latents[a] - latents[b]).norm()) for a, b in pairs) / len(pairs)
    assert spread_within(latents, groups) == pytest.approx(expected, rel=1e-5)
    assert torch.tensor(spread_within(latents, torch.arange(30))).isnan()


def test_senseless_numbers_are_refused() -> None:
    with pytest.raises(SamplingError, match="size"):
        group_by_neighbours(normal(4, 2), bins=torch.zeros(4), size=0)
    with pytest.raises(SamplingError, match="size"):
        group_by_kmeans(normal(4, 2), bins=torch.zeros(4), size=0, random=torch.Generator())
