"""The planner's choices among targets and models, each decided by one difference alone."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from ribs.archives import GridArchive

from qdgs_lightning.search.emitters.archive_snapshot import CellSurvey
from qdgs_lightning.search.emitters.local_models import LocalModels
from qdgs_lightning.search.emitters.planner import Aim, Flight, norms, shortened

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
    assert np.abs(off.mean(axis=0)).max() < 0.06  # to either side alike
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


def curved_aim(rows: int, *, objective_min: float | None = None) -> Aim:
    """Plan from models of random gradients, positions, objectives and curvatures."""
    random = rng(4)
    models = LocalModels(capacity=64, dim=9, num_measures=2)
    models.add(
        random.normal(size=(rows, 9)).astype(np.float32),
        random.normal(size=rows).astype(np.float32),
        random.uniform(2, 10, (rows, 2)).astype(np.float32),
        random.normal(size=(rows, 3, 9)).astype(np.float32),
        random.uniform(0, 0.3, rows).astype(np.float32),
    )
    models.uses[:rows] = np.arange(rows)
    aim = Aim(
        models=models, num_cells=144, max_norm=4.0, improvement=0.1, objective_min=objective_min
    )
    aim.tries = random.integers(0, 5, 144).astype(np.float32)
    return aim


@pytest.mark.parametrize("objective_min", [None, 0.8])
def test_promises_equal_plain_loops(objective_min: float | None) -> None:
    aim = curved_aim(5, objective_min=objective_min)
    aim.damping, models = 0.05, aim.models
    survey = survey_of({(x, y): 0.3 + x * y % 7 / 7 for x in range(8) for y in range(9)})
    cells = np.arange(0, 144, 3)
    noise = rng(9).gumbel(size=(5, len(cells)))
    found, promised = aim._match(survey, cells, survey.centres(cells), rng(9))

    expected = np.empty((5, len(cells)))
    for r, (t, cell) in itertools.product(range(5), enumerate(cells)):
        gradients = models.gradients[r].astype(np.float64)
        of_objective, jacobian = gradients[0], gradients[1:]
        gram = jacobian @ jacobian.T
        offset = np.array(divmod(cell, 12)) + 0.5 - models.positions[r]
        step = jacobian.T @ np.linalg.solve(gram + 0.05 * np.trace(gram) / 2 * np.eye(2), offset)
        length = np.linalg.norm(step)
        miss = np.linalg.norm(offset - jacobian @ step) + models.curvature[r] * length**2
        within = of_objective - jacobian.T @ np.linalg.solve(gram, jacobian @ of_objective)
        reached = models.objectives[r] + of_objective @ step
        reached += 0.5 * 0.3 * np.linalg.norm(within)  # half of the climb that it begins with
        quality = (reached - survey.low) / survey.scale
        present = survey.cell_quality[cell]
        # An empty cell is worth 1, more or less by a quarter of what is expected; another the
        # part of the gain, which no more than the whole scale can be.
        worth = 0.25 * min(max(quality, -1), 1)
        if np.isfinite(present):
            worth = np.log(0.1 * min(max(quality - present, 1e-4), 1))
        chance = -np.log1p((miss / 0.5) ** 2)  # one half for each of two measures
        if objective_min is not None:
            chance -= 8 * max((objective_min - survey.low) / survey.scale - quality, 0)
        chance -= 10 * (length > 2)
        expected[r, t] = worth + chance - np.log1p(aim.tries[cell]) - 0.5 * np.log1p(r)
    expected += 0.3 * noise
    np.testing.assert_array_equal(found, expected.argmax(axis=0))
    np.testing.assert_allclose(promised, expected.max(axis=0), rtol=1e-3, atol=1e-3)
    assert len({*found.tolist()}) > 3
    lengths = models.reach(survey.centres(cells), 0.05).length
    assert 0.2 < (lengths > 2).mean() < 0.8


def test_climbs_go_as_far_as_curvature_allows() -> None:
    aim = aim_from([[5.5, 5.5]] * 3)
    aim.models.curvature[:3] = [0.025, 0.4, 10]
    aim._climb = 1.0
    rows = np.arange(3)
    lengths = np.array([np.linalg.norm(aim._drift(rows, rng(seed)), axis=1) for seed in range(60)])
    # Anywhere up to the climb, or to where curvature makes it a tenth of a cell.
    np.testing.assert_allclose(lengths.max(axis=0), [1, 0.5, 0.1], atol=0.06)
    np.testing.assert_allclose(lengths.mean(axis=0), [0.5, 0.25, 0.05], atol=0.08)


def flown(aim: Aim, misses: Floats, gains: float = 1.0) -> Flight:
    """Tell of steps of two cells that miss by so much, from the first models."""
    n = len(misses)
    rows = np.arange(n)
    steps = np.zeros((n, 6), np.float32)
    steps[:, 0] = 2
    objectives, positions = aim.models.predict(rows, steps)
    flight = Flight(
        models=rows,
        targets=np.full(n, 7),
        points=aim.models.points[rows] + steps,
        steps=steps,
        predicted=np.column_stack([objectives + gains, positions]),
    )
    reached = positions.copy()
    reached[:, 1] += misses
    aim.learn(SURVEY, flight, objectives + gains, reached)
    return flight


def test_cautions_adapt_to_the_median_of_relative_misses() -> None:
    # A miss of two and a quarter cells is the whole of a way of two.
    for miss, caution in ((0.1, 1 / 1.25), (1.1, 1.0), (2.0, 1.25)):
        aim = aim_from([[5.5, 5.5]] * 3)
        aim.damping = 0.01
        flown(aim, np.full(3, miss, np.float32))
        assert aim.damping == pytest.approx(0.01 * caution)
        # What was expected of the objective came true, so that climbs grow longer.
        assert aim._climb == pytest.approx(0.3 * 1.1)
        # A tenth of the way to cells of error per squared length.
        assert aim.curvature == pytest.approx(1 + 0.1 * (miss / 4 - 1))
        assert aim.tries[7] == 3
        assert aim.tries.sum() == 3


def test_climbs_shorten_where_the_objective_is_not_what_was_expected() -> None:
    aim = aim_from([[5.5, 5.5]] * 3)
    rows, steps = np.arange(3), np.zeros((3, 6), np.float32)
    steps[:, 0] = 2
    objectives, positions = aim.models.predict(rows, steps)
    predicted = np.column_stack([objectives + 1, positions])
    flight = Flight(models=rows, targets=rows, points=steps, steps=steps, predicted=predicted)
    aim.learn(SURVEY, flight, objectives - 1, positions)
    assert aim._climb == pytest.approx(0.3 / 1.1)


def test_children_become_models_unless_they_went_astray() -> None:
    aim = aim_from([[5.5, 5.5]] * 3)
    aim.models.curvature[:3] = 0.04
    flight = flown(aim, np.array([0.36, 5.0, 1.0], np.float32))
    models = aim.models
    assert models.count == 5
    np.testing.assert_array_equal(models.points[3:5], flight.points[[0, 2]])
    # Between what the parent had and what was seen: the geometric mean.
    expected = np.sqrt(0.04 * np.array([0.36, 1.0]) / 4)
    np.testing.assert_allclose(models.curvature[3:5], expected, rtol=1e-5)
    assert models.uses[3:5].tolist() == [0, 0]
    # Broyden's condition: back from where they are, they know where they came from.
    _, back = models.predict(np.array([3, 4]), -flight.steps[[0, 2]])
    np.testing.assert_allclose(back, models.positions[[0, 2]], atol=1e-5)


def test_new_models_take_the_places_of_the_oldest() -> None:
    models = LocalModels(capacity=5, dim=2, num_measures=1)
    for first in (0, 3, 6):
        values = np.arange(first, first + 3, dtype=np.float32)
        points = np.repeat(values[:, None], 2, axis=1)
        models.add(points, values, values[:, None], np.ones((3, 2, 2), np.float32), values)
        models.uses[:] = 9
    assert models.count == 5
    assert sorted(models.objectives.tolist()) == [4, 5, 6, 7, 8]
    assert models.objectives.tolist() == models.points[:, 0].tolist()
    before = models.uses.copy()
    nine, zero = np.full(1, 9, np.float32), np.zeros((1, 2), np.float32)
    models.add(zero, nine, zero[:, :1], np.ones((1, 2, 2), np.float32), nine)
    assert 4 not in models.objectives
    assert models.uses[models.objectives == 9] == 0
    assert (models.uses != before).sum() == 1


def test_slopes_are_those_along_the_null_space() -> None:
    models = curved_aim(6).models
    directions, slopes = models.ascent(np.arange(6))
    along = (models.gradients[:6, 0] * directions).sum(axis=1)
    np.testing.assert_allclose(slopes, along, rtol=1e-4)
    np.testing.assert_allclose(models.ascent_slopes(), along, rtol=1e-3)
    moved = np.einsum("rkd,rd->rk", models.gradients[:6, 1:], directions)
    np.testing.assert_allclose(moved, 0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-5)


def test_climb_and_noise_leave_measures_as_they_are() -> None:
    aim = curved_aim(6)
    rows = np.arange(6)
    for seed in range(20):
        drift = aim._drift(rows, rng(seed))
        moved = np.einsum("rkd,rd->rk", aim.models.gradients[rows, 1:], drift)
        np.testing.assert_allclose(moved, 0, atol=1e-4)
        # As long as the climb at most, or curvature would carry it a tenth of a cell off.
        bound = np.minimum(0.3, np.sqrt(0.1 / aim.models.curvature[rows])) + 0.1
        assert (np.linalg.norm(drift, axis=1) < bound).all()
