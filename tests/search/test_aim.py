"""The planner's choices among targets and models, each decided by one difference alone."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from ribs.archives import GridArchive

from qdgs_lightning.search.aim import Aim, norms, shortened
from qdgs_lightning.search.cell_survey import CellSurvey
from qdgs_lightning.search.local_models import LocalModels

Floats = NDArray[np.float32]


def survey_of(elites: dict[tuple[int, ...], float], grid: tuple[int, ...] = (12, 12)) -> CellSurvey:
    """Look at an archive with an elite in the middle of each of some cells."""
    archive = GridArchive(
        solution_dim=2, dims=grid, ranges=[(0, size) for size in grid], dtype=np.float32
    )
    middles = np.array([*elites], np.float32) + 0.5
    archive.add(np.zeros((len(elites), 2), np.float32), np.array([*elites.values()]), middles)
    return CellSurvey(archive)


def aim_from(positions: list[list[float]], **options: float) -> Aim:
    """Plan from models at positions, whose measures are the latent's first coordinates."""
    n, k = len(positions), len(positions[0])
    gradients = np.zeros((n, 1 + k, 6), np.float32)
    gradients[:, 1:, :k] = np.eye(k)
    gradients[:, 0, 5] = 1.0
    models = LocalModels(capacity=64, dim=6, num_measures=k)
    models.add(
        np.zeros((n, 6), np.float32),
        np.zeros(n, np.float32),
        np.array(positions, np.float32),
        gradients,
        np.zeros(n, np.float32),
    )
    arguments = {"max_norm": 40.0, "improvement": 0.1} | options
    return Aim(models=models, num_cells=144, **arguments)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


SURVEY = survey_of({(5, 5): 0.0, (6, 5): 1.0})


def test_models_that_were_used_often_are_left_to_rest() -> None:
    aim = aim_from([[5.5, 5.5], [5.5, 5.5]])
    aim.models.uses[0] = 1e9
    flight = aim.fly(SURVEY, np.arange(144), 20, rng())
    assert set(flight.models.tolist()) == {1}
    assert aim.models.uses[:2].tolist() == [1e9, 20]


def test_every_flight_counts_as_a_use_so_that_equal_models_take_turns() -> None:
    aim = aim_from([[5.5, 5.5]] * 4)
    for seed in range(12):
        aim.fly(SURVEY, np.arange(144), 20, rng(seed))
    uses = aim.models.uses[:4]
    assert uses.sum() == 240
    assert uses.min() > 40


def test_cells_that_were_missed_often_are_left() -> None:
    aim = aim_from([[5.5, 5.5]])
    inner = np.add.outer(np.arange(4, 8) * 12, np.arange(4, 8)).ravel()
    aim.tries[inner] = 1e9
    flight = aim.fly(SURVEY, np.arange(144), 20, rng())
    assert not set(flight.targets.tolist()) & set(inner.tolist())


def test_near_cells_come_before_far_ones_and_empty_before_full_ones() -> None:
    # Cells of a grid of which the left half is full, from a model in the middle.
    half = itertools.product(range(6), range(12))
    full: dict[tuple[int, ...], float] = {place: float(sum(place)) for place in half}
    aim = aim_from([[6.0, 6.0]])
    aim.models.curvature[:1] = 0.2
    flight = aim.fly(survey_of(full), np.arange(144), 12, rng())
    x, y = np.unravel_index(flight.targets, (12, 12))
    assert (x >= 6).all()
    assert np.hypot(x - 5.5, y - 5.5).max() < 5


def test_a_step_aims_at_the_middle_of_its_cell_give_or_take_a_fifth() -> None:
    aim = aim_from([[5.5, 5.5], [2.5, 8.5]])
    aim.damping = 1e-9
    flight = aim.fly(SURVEY, np.arange(144), 30, rng())
    middles = SURVEY.centres(flight.targets)
    off = flight.predicted[:, 1:] - middles
    assert np.abs(off).max() < 0.2 + 1e-3
    assert np.abs(off).max() > 0.1  # no two tries end in the same place
    assert off.std(axis=0).min() > 0.05
    np.testing.assert_allclose(
        flight.steps[:, :2], middles + off - aim.models.positions[flight.models], atol=1e-3
    )


def test_steps_take_no_more_than_half_of_the_way_that_there_is() -> None:
    # The only cell lies 9 standard deviations off, of which a step may take 4.
    aim = aim_from([[0.5, 0.5]], max_norm=8.0)
    aim._climb = 1e-6
    far = np.array([9 * 12])
    aim.tries[:] = 1e30
    aim.tries[far] = 0
    flight = aim.fly(survey_of({(0, 0): 1.0}), far, 1, rng())
    assert flight.targets == far
    assert norms(flight.steps)[0, 0] == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("grid", [(12,), (3, 4), (2, 3, 4)])
def test_failures_are_forgotten_where_a_latent_came_in_and_by_half_beside_new_ones(
    grid: tuple[int, ...],
) -> None:
    cells = np.array([0, 5, 7, 10])
    status = np.array([2, 1, 0, 2], np.int32)
    aim = aim_from([[0.0] * len(grid)])
    aim.tries = np.full(int(np.prod(grid)), 8, np.float32)
    aim.remember(cells, status, np.array(grid, np.int32))

    expected = np.full(grid, 8.0)
    for cell, what in zip(cells, status, strict=True):
        if what:
            expected[np.unravel_index(cell, grid)] = 0
    beside = set()
    for cell in cells[status == 2]:
        corner = np.unravel_index(cell, grid)
        for axis, by in itertools.product(range(len(grid)), (-1, 1)):
            near = [int(c) for c in corner]
            near[axis] = min(max(near[axis] + by, 0), grid[axis] - 1)
            beside.add(tuple(near))
    for near_cell in beside:
        expected[near_cell] /= 2
    np.testing.assert_array_equal(aim.tries.reshape(grid), expected)


def test_latents_are_shortened_to_the_largest_length_alone() -> None:
    rows = np.array([[3, 4], [0.3, 0.4], [0, 0]], np.float32)
    expected = np.array([[1.2, 1.6], [0.3, 0.4], [0, 0]], np.float32)
    assert shortened(rows, 2.0) == pytest.approx(expected, rel=1e-6)
