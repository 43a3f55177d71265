"""The packed archive against pyribs' own, which is the oracle for what an archive holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ribs.archives import GridArchive

from qdgs_lightning.search.persistence.packed_archive import PackedGridArchive

GRID = (4, 3)
RANGES = ((-1.0, 1.0), (0.0, 2.0))
Batch = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def make_pair(
    *, learning_rate: float | None = None, threshold_min: float = -np.inf
) -> tuple[PackedGridArchive, GridArchive]:
    packed = PackedGridArchive(
        solution_dim=5,
        grid=GRID,
        ranges=RANGES,
        seed=np.random.SeedSequence(3),
        learning_rate=learning_rate,
        threshold_min=threshold_min,
    )
    plain = GridArchive(
        solution_dim=5,
        dims=GRID,
        ranges=RANGES,
        seed=np.random.SeedSequence(3),  # type: ignore[arg-type]
        learning_rate=learning_rate,
        threshold_min=threshold_min,
        dtype=np.float32,
    )
    return packed, plain


def draw_batch(rng: np.random.Generator, n: int) -> Batch:
    # Few distinct objectives, so that ties occur; measures reach beyond the grid.
    solution = rng.normal(size=(n, 5)).astype(np.float32)
    objective = rng.integers(-3, 4, size=n).astype(np.float32)
    measures = rng.normal(size=(n, 2), scale=1.5).astype(np.float32)
    return solution, objective, measures


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    annealed=st.booleans(),
)
def test_holds_and_answers_what_pyribs_does(sizes: list[int], seed: int, annealed: bool) -> None:
    packed, plain = make_pair(
        learning_rate=0.3 if annealed else None, threshold_min=-1.0 if annealed else -np.inf
    )
    rng = np.random.default_rng(seed)
    for n in sizes:
        batch = draw_batch(rng, n)
        told, expected = packed.add(*batch), plain.add(*batch)
        np.testing.assert_array_equal(told["status"], expected["status"])
        np.testing.assert_array_equal(told["value"], expected["value"])
    assert packed.stats == plain.stats
    ours, theirs = packed.data(), plain.data()
    for name in theirs:  # the order of elites, which decides what is sampled, is the same too
        np.testing.assert_array_equal(ours[name], theirs[name])
        np.testing.assert_array_equal(packed.data(name), theirs[name])
        np.testing.assert_array_equal(packed.rows(name), theirs[name])
    if not plain.empty:
        sampled, oracle = packed.sample_elites(7), plain.sample_elites(7)
        np.testing.assert_array_equal(sampled["solution"], oracle["solution"])
        np.testing.assert_array_equal(sampled["index"], oracle["index"])
    anywhere = draw_batch(rng, 9)[2]
    (held, found), (oracle_held, oracle_found) = packed.retrieve(anywhere), plain.retrieve(anywhere)
    np.testing.assert_array_equal(held, oracle_held)
    np.testing.assert_array_equal(found["solution"], oracle_found["solution"])
    np.testing.assert_array_equal(found["index"], oracle_found["index"])
    assert list(packed.data(return_type="pandas")["index"]) == list(theirs["index"])


def test_clear_forgets_everything() -> None:
    packed, plain = make_pair()
    rng = np.random.default_rng(0)
    packed.add(*draw_batch(rng, 30))
    packed.clear()
    assert packed.empty
    batch = draw_batch(rng, 10)
    packed.add(*batch)
    plain.add(*batch)
    np.testing.assert_array_equal(packed.data("solution"), plain.data("solution"))


def test_a_store_of_fixed_size_says_so() -> None:
    packed, _ = make_pair()
    with pytest.raises(NotImplementedError, match="fixed number"):
        packed._store.resize(100)
    with pytest.raises(NotImplementedError, match="data frames"):
        packed.data(return_type="tuple")


def test_a_floor_lets_pass_what_is_above_it_and_tells_by_how_much() -> None:
    archive = PackedGridArchive(
        solution_dim=5, grid=GRID, ranges=RANGES, seed=np.random.SeedSequence(3), floor=0.5
    )
    solution = np.zeros((4, 5), np.float32)
    measures = np.array([[-0.9, 0.1], [-0.3, 0.1], [0.3, 0.1], [0.3, 1.9]], np.float32)
    told = archive.add(solution, np.array([0.25, 0.5, 0.75, 2], np.float32), measures)
    assert told["status"].tolist() == [0, 0, 2, 2]
    # Of what was refused, how far it lies below the floor; of the rest, as pyribs has it.
    assert told["value"].tolist() == [-0.25, 0, 0.75, 2]
    assert sorted(archive.data("index").tolist()) == archive.index_of(measures[2:]).tolist()
    worse = archive.add(solution[:1], np.array([0.6], np.float32), measures[3:])
    assert worse["status"].tolist() == [0]
    assert worse["value"] == pytest.approx(-1.4)
