"""Cells worth aiming at, against plain definitions."""

import numpy as np
import pytest
from ribs.archives import GridArchive
from scipy.ndimage import generate_binary_structure, maximum_filter

from qdgs_lightning.search.emitters.archive_snapshot import (
    CellSurvey,
    best_neighbour,
    grid_position,
)


def filled(elites: dict[tuple[int, int], float], grid: tuple[int, int] = (6, 8)) -> GridArchive:
    """An archive over [-1, 2] x [10, 50] with elites in the middle of cells."""
    archive = GridArchive(
        solution_dim=1, dims=grid, ranges=[(-1, 2), (10, 50)], dtype=np.float32, seed=0
    )
    cells = np.array([*elites]) + 0.5
    measures = np.array([-1, 10]) + cells * np.array([3, 40]) / np.array(grid)
    archive.add(np.zeros((len(cells), 1)), np.array([*elites.values()]), measures)
    return archive


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 5)])
def test_the_best_neighbour_shares_a_face(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    cross = generate_binary_structure(len(shape), 1)
    cross[(1,) * len(shape)] = False
    expected = maximum_filter(values, footprint=cross, mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(best_neighbour(values), expected)


def test_cells_are_counted_as_the_archive_does() -> None:
    archive = filled({(0, 0): 0.0, (5, 7): 1.0})
    survey = CellSurvey(archive)
    measures = np.random.default_rng(1).uniform((-2, 0), (3, 60), (200, 2)).astype(np.float32)
    cells = survey.cells_at(grid_position(archive, measures))
    np.testing.assert_array_equal(cells, archive.index_of(measures))
    np.testing.assert_array_equal(survey.cells_at(survey.centres(np.arange(48))), np.arange(48))
    np.testing.assert_allclose(survey.positions, [[0.5, 0.5], [5.5, 7.5]], atol=1e-5)


def test_regions_cut_each_measure_into_four_at_most() -> None:
    survey = CellSurvey(filled({(0, 0): 0.0, (0, 1): 1.0, (5, 7): 1.0}))
    rows, columns = np.unravel_index(np.arange(48), (6, 8))
    expected = (rows * 4 // 6) * 4 + columns // 2
    np.testing.assert_array_equal(survey.region_of(np.arange(48)), expected)
    assert survey.region_sizes.tolist() == [2] + [0] * 14 + [1]


def test_quality_lies_between_quantiles_of_the_elites() -> None:
    values = np.arange(21) * 5.0
    survey = CellSurvey(filled({(i // 8, i % 8): value for i, value in enumerate(values)}))
    # 5 and 95 of 0, 5, .. 100.
    np.testing.assert_allclose(survey.rate(np.array([5, 50, 95, 100])), [0, 0.5, 1, 95 / 90])
    assert np.isinf(survey.cell_quality[21:]).all()
    np.testing.assert_allclose(survey.cell_quality[:21], (values - 5) / 90, rtol=1e-5)


def test_targets_are_drawn_in_proportion_to_what_they_are_worth() -> None:
    # A row of empty, poor, good, as good, and empty cells.
    archive = filled({(0, 1): 0.0, (0, 2): 1.0, (0, 3): 1.0}, grid=(1, 5))
    survey = CellSurvey(archive)
    tries = np.array([1, 8, 0, 0, 4], np.float32)
    rng = np.random.default_rng(0)
    first = [int(survey.targets(1, tries, 9, rng)[0]) for _ in range(6000)]
    # An empty cell is worth 1, the poor one nine times what it may gain, at most the whole scale;
    # one as good as its neighbour may gain a fiftieth. Less for every time that it was tried.
    worth = np.array([1 / 2, 9 / 9, 9 * 0.02, 9 * 0.02, 1 / 5])
    shares = np.bincount(first, minlength=5) / 6000
    np.testing.assert_allclose(shares, worth / worth.sum(), atol=0.025)
    everything = survey.targets(9, tries, 9, rng)
    assert sorted(everything.tolist()) == [0, 1, 2, 3, 4]


def test_no_target_lies_apart_from_all_elites() -> None:
    survey = CellSurvey(filled({(2, 3): 0.0}))
    found = survey.targets(99, np.zeros(48, np.float32), 0.1, np.random.default_rng(0))
    assert {divmod(cell, 8) for cell in found.tolist()} == {(1, 3), (3, 3), (2, 2), (2, 4)}
