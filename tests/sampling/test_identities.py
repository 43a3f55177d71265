"""Grouping latents into identities, and the classes that identities keep."""

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from qdgs_lightning.sampling import (
    Candidates,
    IdentityRegistry,
    IdentityReport,
    SamplingError,
    group_by_kmeans,
    group_by_neighbours,
    spread_within,
)
from qdgs_lightning.sampling.identities_registry import share_out

BINS = ("dark", "mixed", "light")


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


def test_shares_are_in_proportion_as_far_as_there_is_room() -> None:
    def shared(n: int, start: list[int], room: list[int], weights: list[float]) -> list[int]:
        of = [torch.tensor(values) for values in (start, room, weights)]
        return [int(i) for i in share_out(n, *of)]

    assert shared(9, [0, 0, 0], [9, 9, 9], [1, 1, 1]) == [3, 3, 3]
    assert shared(9, [5, 0, 0], [9, 9, 9], [1, 1, 1]) == [0, 5, 4]
    assert shared(9, [0, 0, 0], [9, 1, 9], [1, 1, 1]) == [4, 1, 4]
    assert shared(12, [0, 0, 0], [99, 99, 99], [1, 2, 3]) == [2, 4, 6]
    assert shared(9, [0, 0, 0], [1, 2, 3], [1, 1, 1]) == [1, 2, 3]


class Toy:
    """A set of candidates that changes, and a registry that follows it."""

    def __init__(self, *, slots: int, seed: int = 0) -> None:
        self.registry = IdentityRegistry(slots=slots, bin_names=BINS)
        self.random = torch.Generator().manual_seed(seed)
        self.latents = torch.empty(0, 3)

    def add(self, n: int) -> None:
        """Add candidates."""
        self.latents = torch.cat([self.latents, torch.randn(n, 3, generator=self.random)])

    def displace(self, n: int) -> None:
        """Take some away."""
        kept = torch.randperm(len(self.latents), generator=self.random)[n:]
        self.latents = self.latents[kept]

    def candidates(self) -> Candidates:
        """Return them, in bins along the first coordinate."""
        bins = (self.latents[:, 0] > -0.4).long() + (self.latents[:, 0] > 0.4).long()
        return Candidates(
            latents=self.latents,
            labels=bins[:, None],
            bins=bins,
            cells=torch.zeros(len(bins), dtype=torch.int64),
            evaluated=100,
            dropped={"poor": 3},
            bin_names=BINS,
        )

    def update(self, identities: int, **options: Any) -> IdentityReport:
        """Tell the registry."""
        return self.registry.update(
            self.candidates(),
            group=lambda latents, bins: group_by_neighbours(latents, bins=bins),
            identities=identities,
            random=torch.Generator().manual_seed(self.registry.updates),
            **{"shares": torch.ones(3), **options},
        )

    def identities(self) -> dict[int, frozenset[tuple[float, ...]]]:
        """Latents of every class in use; checks the table on the way."""
        table = self.registry.table()
        found: dict[int, set[tuple[float, ...]]] = {}
        for latent, c in zip(table.latents.tolist(), table.classes.tolist(), strict=True):
            found.setdefault(c, set()).add(tuple(latent))
        assert sum(map(len, found.values())) == len({x for group in found.values() for x in group})
        assert all(len(group) == 2 for group in found.values())
        assert all(0 <= c < self.registry.slots for c in found)
        edges = torch.bucketize(table.latents[:, 0].contiguous(), torch.tensor([-0.4, 0.4]))
        assert torch.equal(edges, table.bins)
        return {c: frozenset(group) for c, group in found.items()}


def test_identities_keep_their_classes_across_refreshes_and_a_resume() -> None:
    toy, ever = Toy(slots=100), dict[int, frozenset[tuple[float, ...]]]()
    toy.add(80)
    before: dict[int, frozenset[tuple[float, ...]]] = {}
    for refresh in range(4):
        if refresh == 2:  # in another process
            state = toy.registry.state_dict()
            toy.registry = IdentityRegistry(slots=100, bin_names=BINS)
            toy.registry.load_state_dict(state)
            assert toy.identities() == before
        report = toy.update(24)
        now, alive = toy.identities(), {tuple(x) for x in toy.latents.tolist()}
        assert len(now) == report.total == 24
        assert {c for c in before if before[c] <= alive} == {c for c in before if c in now}
        for c, group in now.items():
            assert ever.setdefault(c, group) == group  # a class never means another identity
            assert group <= alive
        assert report.new == len(now.keys() - before.keys())
        assert report.retired == len(before.keys() - now.keys())
        assert report.new > 0
        assert report.free_slots == 100 - len(ever)
        assert sorted(ever) == list(range(len(ever)))  # in turn, and none is used again
        assert max(report.identities) - min(report.identities) <= 1
        before = now
        toy.displace(15)
        toy.add(15)


def test_rows_keep_their_places_and_the_resumed_registry_goes_on_alike() -> None:
    toy, twin = Toy(slots=60), Toy(slots=60)
    for one in (toy, twin):
        one.add(70)
        one.update(20)
    twin.registry.load_state_dict(toy.registry.state_dict())
    for _ in range(3):
        rows, classes = toy.registry.rows, toy.registry.table().classes
        for one in (toy, twin):
            one.displace(12)
            one.add(12)
            one.update(20)
        table, other = toy.registry.table(), twin.registry.table()
        for name in ("latents", "classes", "bins"):
            assert torch.equal(getattr(table, name), getattr(other, name))
        stays = torch.isin(classes, table.classes)
        assert 0 < int(stays.sum()) < 40
        assert torch.equal(toy.registry.rows[stays], rows[stays])


def test_fewer_rows_close_their_gaps() -> None:
    toy = Toy(slots=60)
    toy.add(60)
    toy.update(30)
    before = toy.identities()
    toy.displace(30)
    report = toy.update(30)
    now = toy.identities()
    assert len(now) == report.total < 20
    assert all(now[c] == before[c] for c in now if c in before)
    assert report.shortages()["identities"].startswith(f"There are latents for {report.total} ")


def test_when_slots_run_out_identities_are_held_rather_than_lost() -> None:
    toy = Toy(slots=24)
    toy.add(80)
    toy.update(20)
    for expected_free in (0, 0):
        before = toy.identities()
        toy.displace(30)
        toy.add(40)
        report = toy.update(20)
        now = toy.identities()
        assert report.total == len(now) == 20
        assert report.free_slots == expected_free
        assert report.held_over > 0
        alive = {tuple(x) for x in toy.latents.tolist()}
        assert sum(not group <= alive for group in now.values()) == report.held_over
        assert all(before[c] == now[c] for c in now if c in before)
        assert "slots" in report.shortages()["slots"]
    assert report.new == 0


def test_shares_follow_the_candidates_where_nothing_is_balanced() -> None:
    toy = Toy(slots=200)
    toy.latents = normal(400, 3) * torch.tensor([0.5, 1.0, 1.0])
    available = toy.candidates().bins.bincount()
    report = toy.update(100, shares=None)
    assert report.available == tuple(available.tolist())
    assert list(report.identities) == pytest.approx((available / 4).tolist(), abs=1)
    report = Toy.update(other := Toy(slots=9), 3)  # of nothing
    assert report.total == 0
    assert other.registry.table().latents.shape[0] == 0
    assert report.empty_bins == BINS


def test_a_bin_without_a_share_gets_nothing() -> None:
    toy = Toy(slots=200)
    toy.add(100)
    report = toy.update(60, shares=torch.tensor([0.0, 1.0, 2.0]))
    assert report.identities[0] == 0
    assert report.identities[1] > 0
    assert report.left_out == sum(n % 2 for n in report.available)


def test_equal_latents_are_used_once() -> None:
    toy = Toy(slots=200)
    toy.add(40)
    toy.latents = toy.latents.repeat(2, 1)
    assert toy.update(40).total <= 20
    assert len(toy.identities()) >= 18  # which looks for latents that are used twice


def test_a_checkpoint_of_other_bins_or_slots_is_refused() -> None:
    toy = Toy(slots=30)
    toy.add(30)
    toy.update(5)
    state = toy.registry.state_dict()
    with pytest.raises(SamplingError, match="slots: 30"):
        IdentityRegistry(slots=31, bin_names=BINS).load_state_dict(state)
    with pytest.raises(SamplingError, match="dark, mixed, light"):
        IdentityRegistry(slots=30, bin_names=BINS[:2]).load_state_dict(state)
