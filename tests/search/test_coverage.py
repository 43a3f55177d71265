"""Shares of cells, against counts one by one."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.search import Archive, Coverage
from tests.search.test_archive import METADATA, make_archive

GRID, RANGES = METADATA.grid, METADATA.ranges  # 4 x 3 x 2 over (0, 1), (-1, 1), (.25, .75)


def with_span(archive: Archive, *spans: tuple[float, float]) -> Archive:
    """The same elites, of a prior that spans these quantiles."""
    return replace(archive, metadata=replace(archive.metadata, prior_span=spans))


@given(n=st.integers(0, 40), seed=st.integers(0, 1000))
def test_cells_are_counted_as_one_by_one(n: int, seed: int) -> None:
    archive, _ = make_archive(n, seed)
    # The prior reaches from the second cell of red, and all of the others.
    archive = with_span(archive, (0.3, 0.9), (-0.9, 0.9), (0.3, 0.7))
    elites = {tuple(row) for row in archive.grid_index.tolist()}
    found = Coverage.of(archive, intervals={0: [(-math.inf, 0.5), (0.8, math.inf)], 1: [(-1, 2)]})
    assert (found.all.filled, found.all.cells) == (len(elites), 24)
    assert (found.budget.filled, found.budget.cells) == (len(elites), 24)  # of 100 evaluations
    assert found.prior is not None
    assert (found.prior.filled, found.prior.cells) == (sum(e[0] >= 1 for e in elites), 18)
    pairs = {e[:2] for e in elites}
    assert (found.axes.filled, found.axes.cells) == (len(pairs), 12)
    # Red has cells 0 and 1 below .5, of which the prior reaches 1; cell 3 begins below .8.
    assert found.clear is not None
    assert (found.clear.filled, found.clear.cells) == (sum(p[0] == 1 for p in pairs), 3)


def test_a_budget_smaller_than_the_grid_is_what_counts() -> None:
    archive, _ = make_archive(12)
    archive = replace(archive, metadata=replace(METADATA, evaluations=16))
    assert Coverage.of(archive).budget.share == len(archive) / 16


def test_archives_of_earlier_versions_know_no_prior() -> None:
    archive, _ = make_archive(12)
    found = Coverage.of(archive, intervals={0: [(0.0, 1.0)]})
    assert found.prior is None
    assert found.clear is None
    assert set(found.shares()) == {"coverage", "coverage_of_budget", "coverage_of_bins"}


def test_bins_narrower_than_a_cell_have_no_clear_ones() -> None:
    archive, _ = make_archive(12)
    archive = with_span(archive, *RANGES)
    found = Coverage.of(archive, intervals={0: [(0.3, 0.45)]})
    assert found.clear is not None
    assert found.clear.cells == 0
    assert math.isnan(found.clear.share)
    assert "coverage_of_clear_cells" not in found.shares()


def test_cuts_on_the_edges_of_cells_leave_both_sides_clear() -> None:
    archive, _ = make_archive(0)
    found = Coverage.of(with_span(archive, *RANGES), intervals={0: [(-9, 0.25), (0.25, 0.75)]})
    assert found.clear is not None
    assert found.clear.cells == 3


def test_chosen_measures_without_bins() -> None:
    archive, _ = make_archive(40)
    found = Coverage.of(archive, measures=[2, 0])
    index = archive.grid_index
    assert found.axes.filled == len(torch.unique(index[:, [0, 2]], dim=0))
    assert found.axes.cells == len(list(product(range(4), range(2)))) == 8
    assert found.axes.share == pytest.approx(found.axes.filled / 8)


@pytest.mark.parametrize(
    ("span", "cells"),
    [((0.3, 0.6), [1, 2]), ((-2.0, 0.1), [0]), ((0.8, 5.0), [3]), ((0.5, 0.5), [2])],
)
def test_the_prior_ends_in_the_cells_of_its_quantiles(
    span: tuple[float, float], cells: list[int]
) -> None:
    archive, _ = make_archive(40)
    archive = with_span(archive, span, *RANGES[1:])
    found = Coverage.of(archive, measures=[0, 2], intervals={2: [(0.0, 0.5)]})
    assert found.prior is not None
    assert found.clear is not None
    assert found.prior.cells == len(cells) * 6
    inside = torch.isin(archive.grid_index[:, 0], torch.tensor(cells))
    assert found.prior.filled == int(inside.sum())
    # The measure without intervals is clear wherever the prior is.
    assert found.clear.cells == len(cells)
    elites = archive.grid_index[inside & (archive.grid_index[:, 2] == 0)]
    assert found.clear.filled == len(set(elites[:, 0].tolist()))


def test_shares_go_by_the_names_of_what_they_count() -> None:
    archive, _ = make_archive(14)
    metadata = replace(METADATA, evaluations=20, prior_span=((0.3, 0.9), *RANGES[1:]))
    found = Coverage.of(replace(archive, metadata=metadata), intervals={0: [(0.0, 0.5)]})
    assert found.prior is not None
    assert found.clear is not None
    shares = [found.all, found.budget, found.prior, found.axes, found.clear]
    cells = [24, 20, 18, 4, 1]
    assert [count.cells for count in shares] == cells
    names = ("", "_of_budget", "_of_prior", "_of_bins", "_of_clear_cells")
    assert found.shares() == {
        f"coverage{name}": count.filled / size
        for name, count, size in zip(names, shares, cells, strict=True)
    }
