"""Which classes identities keep, and how they are shared out over bins."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from qdgs_lightning.identities import IdentityRegistry, IdentityReport, group_by_neighbours
from qdgs_lightning.identities.registry import share_out
from qdgs_lightning.sampling import Candidates, SamplingError
from qdgs_lightning.sampling.quotas import Quotas

BINS = ("dark", "mixed", "light")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
            prompts=("skin from A to B",),
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
    assert report.shortages()["bins"] == (
        "There are no identities of dark, mixed, light (measures: skin from A to B)."
    )


def test_chance_chooses_among_identities_of_which_there_are_more_than_wanted() -> None:
    chosen = []
    for seed in (0, 0, 1):
        toy = Toy(slots=200)
        toy.add(120)
        toy.registry.updates = seed  # which the toy draws by
        toy.update(12)
        chosen.append({min(group) for group in toy.identities().values()})
    assert chosen[0] == chosen[1]
    assert len(chosen[0] & chosen[2]) < 9


def test_a_bin_without_a_share_gets_nothing() -> None:
    toy = Toy(slots=200)
    toy.add(100)
    report = toy.update(60, shares=torch.tensor([0.0, 1.0, 2.0]))
    assert report.identities[0] == 0
    assert report.identities[1] > 0
    assert report.left_out == sum(n % 2 for n in report.available)


def by_bin(*counts: int) -> Tensor:
    """Latents of which so many are dark, mixed and light."""
    first = torch.tensor([-1.0, 0.0, 1.0]).repeat_interleave(torch.tensor(counts))
    return torch.cat([first[:, None], normal(len(first), 2)], dim=1)


def asked(*shares: float) -> dict[str, Any]:
    """Options of an update that must keep these shares."""
    quotas = Quotas.of(dict(zip(BINS, shares, strict=True)), [BINS])
    return {"shares": torch.tensor(shares), "quotas": quotas}


def test_quotas_that_latents_do_not_suffice_for_are_refused_beyond_rounding() -> None:
    for dark, light in ((20, 100), (21, 90)):  # 10 pairs of 11 that are asked for
        toy = Toy(slots=100)
        toy.latents = by_bin(dark, 100, light)
        assert toy.update(22, **asked(0.5, 0, 0.5)).identities == (10, 0, 12)
    # A latent alone is no identity.
    for dark, made in ((19, 9), (1, 0), (0, 0)):
        toy.latents, before = by_bin(dark, 100, 100), toy.registry.state_dict()
        toy.registry = IdentityRegistry(slots=100, bin_names=BINS)
        with pytest.raises(
            SamplingError,
            match=rf"22 identities with 11 of dark \({made} can be made\), .* few latents of dark "
            r"\(measures: skin from A to B\): .*evaluate more, lower .*identities.*renormalise",
        ):
            toy.update(22, **asked(0.5, 0, 0.5))
        assert toy.registry.updates == len(toy.registry.rows) == 0
    toy.registry.load_state_dict(before)


def test_quotas_hold_where_all_groups_are_as_short() -> None:
    toy = Toy(slots=100)
    toy.latents = by_bin(8, 0, 24)
    assert toy.update(80, **asked(0.25, 0, 0.75)).identities == (4, 0, 12)


@pytest.mark.parametrize("light_men", [2, 12])
def test_a_free_attribute_may_fall_short_as_long_as_groups_do_not(light_men: int) -> None:
    """Of dark and light, half each, few are men: women stand in, in both groups or in one."""
    names = ("dark man", "dark woman", "light man", "light woman")
    quotas = Quotas.of({"dark": 0.5, "light": 0.5}, [["dark", "light"], ["man", "woman"]])
    bins = torch.arange(4).repeat_interleave(torch.tensor([2, 30, light_men, 30]))
    candidates = Candidates(
        latents=normal(len(bins), 3),
        labels=bins[:, None],
        bins=bins,
        cells=bins,
        evaluated=100,
        dropped={},
        bin_names=names,
    )

    def update(quotas: Quotas | None) -> IdentityReport:
        return IdentityRegistry(slots=50, bin_names=names).update(
            candidates,
            group=lambda latents, bins: group_by_neighbours(latents, bins=bins),
            identities=24,
            shares=torch.full((4,), 0.25),
            random=torch.Generator().manual_seed(0),
            quotas=quotas,
        )

    if light_men == 2:
        report = update(quotas)
        assert report.identities == (1, 11, 1, 11)
        assert report.shortages()["bins"] == (
            "There are too few identities of dark man (1 of 6), light man (1 of 6), as latents "
            "are too few; their part went to all others."
        )
    else:  # 1 + 8.5 dark, 6 + 8.5 light
        with pytest.raises(SamplingError, match=r"12 of dark \(10 can .* of dark man: search"):
            update(quotas)
        assert update(None).identities == (1, 9, 6, 8)


def test_shares_that_are_not_kept_are_said() -> None:
    toy = Toy(slots=100)
    toy.latents = by_bin(0, 6, 100)
    report = toy.update(24)
    assert report.identities == (0, 3, 21)
    assert report.shortages() == {
        "bins": "There are no identities of dark and too few of mixed (3 of 8), as latents are too "
        "few (measures: skin from A to B); their part went to light (21 of 8)."
    }
    assert report.metrics()["pool/distance_to_quotas"] == pytest.approx((8 + 5) / 24)
    toy = Toy(slots=100)
    toy.latents = by_bin(50, 50, 50)
    report = toy.update(23)
    assert report.shortages() == {}
    assert report.metrics()["pool/distance_to_quotas"] < 1 / 23
    assert "pool/distance_to_quotas" not in toy.update(23, shares=None).metrics()


def test_bins_are_short_of_the_identities_that_there_are_not_of_those_wanted() -> None:
    toy = Toy(slots=100)
    toy.latents = by_bin(6, 20, 20)
    report = toy.update(80)
    assert report.identities == (3, 10, 10)
    shortages = report.shortages()
    assert shortages["bins"] == (
        "There are too few identities of dark (3 of 8), as latents are too few (measures: skin "
        "from A to B); their part went to all others."
    )
    assert shortages["identities"].startswith("There are latents for 23 identities of 80: ")
    # As many of each: nothing has gone from one bin to another.
    toy = Toy(slots=100)
    toy.latents = by_bin(20, 20, 20)
    assert toy.update(80).shortages().keys() == {"identities"}


def test_identities_that_stay_are_no_reason_to_refuse_quotas() -> None:
    toy = Toy(slots=100)
    toy.latents = by_bin(2, 0, 80)
    toy.update(20)
    toy.latents = torch.cat([toy.latents, by_bin(60, 0, 0)])
    before = toy.identities()
    report = toy.update(20, **asked(0.5, 0, 0.5))
    assert toy.identities() == before
    assert report.identities == (1, 0, 19)
    assert "too few of dark (1 of 10)" in report.shortages()["bins"]
    assert "earlier identities stay in use" in report.shortages()["bins"]
    # They count as what latents suffice for.
    toy = Toy(slots=100)
    toy.latents = by_bin(20, 0, 20)
    for _ in range(2):
        report = toy.update(22, **asked(0.5, 0, 0.5))
        toy.latents = torch.cat([toy.latents, by_bin(0, 0, 8)])
    assert report.identities == (10, 0, 12)


def test_what_has_become_of_identities_is_counted_and_told() -> None:
    toy = Toy(slots=30)
    toy.latents = by_bin(21, 20, 20)
    report = toy.update(24)
    assert (report.new, report.retired, report.held_over, report.free_slots) == (24, 0, 0, 6)
    assert report.left_out == 61 - 2 * (10 + 10 + 10)
    assert (report.smallest, report.largest) == (2, 2)
    before = toy.identities()
    # All latents but the dark ones go, and others come.
    toy.latents = torch.cat([toy.latents[:21], by_bin(0, 20, 20) + 1e-3])
    report = toy.update(24)
    lost = sum(len(group) for c, group in before.items() if c >= 0 and c not in toy.identities())
    assert report.retired == lost / 2 == 6  # as many as there are classes for others
    assert (report.new, report.held_over, report.free_slots) == (6, 10, 0)
    spread = [math.dist(*map(list, group)) for group in toy.identities().values()]
    assert report.spread == pytest.approx(sum(spread) / 24, rel=1e-5)
    assert report.metrics() == {
        "pool/evaluated": 100,
        "pool/identities": 24,
        "pool/new": 6,
        "pool/retired": 6,
        "pool/held_over": 10,
        "pool/free_slots": 0,
        "pool/left_out": report.left_out,
        "pool/empty_bins": 0,
        "pool/spread": report.spread,
        "pool/distance_to_quotas": pytest.approx(0, abs=1e-6),
        **{f"pool/available/{name}": n for name, n in zip(BINS, (21, 20, 20), strict=True)},
        **{f"pool/identities/{name}": 8 for name in BINS},
        "pool/dropped/poor": 3,
    }
    assert str(report).splitlines() == [
        "Pool of 24 identities of 2 latents each (6 new, 6 retired, 10 held over; 0 classes are "
        "free).",
        "  dark: 8 identities from 21 candidates",
        "  mixed: 8 identities from 20 candidates",
        "  light: 8 identities from 20 candidates",
        f"  {report.left_out} candidates fill no identity",
        "  dropped of 100 evaluated latents: 3 poor (objective below quality.objective or "
        "quality.quantile)",
    ]
    sizes = replace(report, smallest=1, largest=5, held_over=0, spread=math.nan)
    assert "identities of 1 to 5 latents each (6 new, 6 retired; 0" in str(sizes)
    assert "pool/spread" not in sizes.metrics()


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
