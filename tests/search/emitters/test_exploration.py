"""What exploration chooses: empty cells first, evenly over regions, and not twice the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ribs.archives import GridArchive

from qdgs_lightning.search.emitters.archive_snapshot import Cells, CellSurvey, Floats
from qdgs_lightning.search.emitters.exploration import BLEND, LEAP, Exploration, most_promising
from qdgs_lightning.search.emitters.surrogate import Surrogate

GRID = (16, 16)
LEFT, RIGHT = [0, 64], [128, 192]
"""Empty cells of the first row, one of each region: in `_crowded`, regions have 4 x 4 cells."""


def _archive(measures: Floats, objective: Floats) -> GridArchive:
    """An archive of latents that are their own measures."""
    archive = GridArchive(solution_dim=2, dims=GRID, ranges=[(0, 16), (0, 16)], dtype=np.float32)
    archive.add(measures, objective, measures)
    return archive


def _crowded() -> GridArchive:
    """All cells of the left half but those of its first row hold elites, the right half holds 1."""
    x, y = np.meshgrid(np.arange(8) + 0.5, np.arange(1, 16) + 0.5)
    measures = np.concatenate([np.stack([x.ravel(), y.ravel()], 1), [[15.5, 15.5]]])
    return _archive(measures.astype(np.float32), np.linspace(0, 1, 121, dtype=np.float32))


def _chosen(archive: GridArchive, cells: list[int], n: int, **options: object) -> Cells:
    survey = CellSurvey(archive)
    arguments: dict[str, object] = {
        "objective": np.full(len(cells), 0.5, np.float32),
        "tries": np.zeros(256, np.float32),
        "improvement": 0.1,
        "objective_min": None,
        "rng": np.random.default_rng(0),
    }
    rows = most_promising(survey, cells=np.array(cells), n=n, **(arguments | options))  # type: ignore[arg-type]
    return np.array(cells)[rows]


def test_empty_cells_come_before_full_ones() -> None:
    full = [1, 2, 3, 17, 18]
    assert set(_chosen(_crowded(), full + LEFT, 2)) == set(LEFT)


def test_regions_with_few_elites_come_before_crowded_ones() -> None:
    assert set(_chosen(_crowded(), LEFT + RIGHT, 2)) == set(RIGHT)


def test_candidates_for_one_cell_give_way_to_those_for_another() -> None:
    same, other = [192] * 20, [128, 240]
    assert set(other) < set(_chosen(_crowded(), same + other, 5))


def test_cells_tried_in_vain_come_last() -> None:
    tries = np.zeros(256, np.float32)
    tries[RIGHT] = 50
    assert set(_chosen(_crowded(), [*RIGHT, 132, 196], 2, tries=tries)) == {132, 196}


def test_what_is_expected_below_the_floor_comes_last() -> None:
    objective = np.array([0.5, -9, 0.5, -9], np.float32)
    chosen = _chosen(_crowded(), [128, 132, 192, 196], 2, objective=objective, objective_min=0.2)
    assert set(chosen) == {128, 192}


@settings(max_examples=30)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=60), st.integers(1, 70))
def test_no_candidate_is_chosen_twice(cells: list[int], n: int) -> None:
    survey = CellSurvey(_crowded())
    rows = most_promising(
        survey,
        np.zeros(len(cells), np.float32),
        np.array(cells),
        n,
        tries=np.zeros(256, np.float32),
        improvement=0.1,
        objective_min=None,
        rng=np.random.default_rng(1),
    )
    assert len(set(rows.tolist())) == len(rows) == min(n, len(cells))


def test_parents_are_spread_over_regions_and_not_over_elites() -> None:
    survey = CellSurvey(_crowded())
    rows = survey.spread_rows(4000, np.random.default_rng(0))
    regions = survey.region_of(survey.cells_at(survey.positions[rows]))
    _, counts = np.unique(regions, return_counts=True)
    # Nine regions of 2 x 2 cells hold elites, one of them a single one.
    assert len(counts) == 9
    assert counts.min() > 0.8 * 4000 / 9


def _exploration(rare: float) -> tuple[Exploration, CellSurvey]:
    """An exploration that has seen where 500 normal latents lie, on a grid for the rare ones."""
    latents = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)
    archive = GridArchive(
        solution_dim=2, dims=(4, 4), ranges=[(-rare, rare), (-3, 3)], dtype=np.float32
    )
    archive.add(latents, np.zeros(500), latents)
    survey = CellSurvey(archive)
    exploration = Exploration(
        surrogate=Surrogate(dim=2, num_values=3, num_features=128, seed=0),
        max_norm=6.0,
        improvement=0.1,
        objective_min=None,
    )
    lower, size = np.array([-rare, -3]), np.array([rare / 2, 1.5])
    exploration.learn(survey, latents, np.zeros(500, np.float32), (latents - lower) / size)
    return exploration, survey


def test_fresh_samples_are_taken_from_the_prior_where_elites_are_few() -> None:
    exploration, survey = _exploration(rare=4.0)
    rng = np.random.default_rng(1)
    drawn: list[Floats] = []

    def draw(n: int) -> Floats:
        drawn.append(rng.standard_normal((n, 2)).astype(np.float32))
        return drawn[-1]

    points = np.concatenate(
        [
            exploration.fresh(survey, 20, draw=draw, tries=np.zeros(16, np.float32), rng=rng)[0]
            for _ in range(5)
        ]
    )
    everything = {tuple(row) for row in np.concatenate(drawn).tolist()}
    taken = [tuple(row) for row in points.tolist()]
    assert set(taken) <= everything
    assert len(set(taken)) == len(taken) == 100
    # 4.6 % of the prior lie beyond two standard deviations: of 100 plain samples, about 5.
    assert (np.abs(points[:, 0]) > 2).sum() > 20


@pytest.mark.parametrize("way", [LEAP, BLEND])
def test_variations_come_in_the_number_asked_for_and_within_the_norm(way: int) -> None:
    exploration, survey = _exploration(rare=4.0)
    rng = np.random.default_rng(1)
    elites = rng.standard_normal((len(survey), 2)).astype(np.float32) * 5
    points, cells = exploration.varied(
        survey,
        30,
        way,
        elites=lambda rows: elites[rows],
        draw=lambda n: rng.standard_normal((n, 2)).astype(np.float32),
        tries=np.zeros(16, np.float32),
        rng=rng,
    )
    assert points.shape == (30, 2)
    assert cells.shape == (30,)
    assert np.linalg.norm(points, axis=1).max() <= 6 * (1 + 1e-5)


def test_blends_are_as_long_as_the_prior() -> None:
    # Of two normal latents the blend is normal again, whatever their shares.
    rng = np.random.default_rng(0)
    archive = GridArchive(solution_dim=1, dims=(4, 4), ranges=[(0, 4), (0, 4)], dtype=np.float32)
    corners = np.array([[0.5, 0.5], [3.5, 0.5], [0.5, 3.5]])
    archive.add(np.zeros((3, 1)), np.zeros(3), corners)
    exploration = Exploration(
        surrogate=Surrogate(dim=200, num_values=3, num_features=8, seed=0),
        max_norm=99.0,
        improvement=0.1,
        objective_min=None,
    )
    points, _ = exploration.varied(
        CellSurvey(archive),
        400,
        BLEND,
        elites=lambda rows: rng.standard_normal((len(rows), 200), dtype=np.float32),
        draw=lambda n: rng.standard_normal((n, 200), dtype=np.float32),
        tries=np.zeros(16, np.float32),
        rng=rng,
    )
    assert (points**2).mean() == pytest.approx(1, abs=0.02)


def test_an_archive_is_learnt_from_once() -> None:
    survey = CellSurvey(_crowded())
    exploration = Exploration(
        surrogate=Surrogate(dim=2, num_values=3, num_features=16, seed=0),
        max_norm=6.0,
        improvement=0.1,
        objective_min=None,
    )
    for _ in range(2):
        exploration.begin(survey, lambda rows: survey.measures[rows])
        assert exploration.surrogate.count == len(survey) == 121
    beyond = np.array([[-9, 99]], np.float32)
    exploration.learn(survey, np.zeros((1, 2), np.float32), np.zeros(1, np.float32), beyond)
    assert exploration.surrogate.count == 122
    # What lies beyond the grid counts as at its edge.
    at_edge = exploration.surrogate._products[-1, 1:].numpy() - survey.positions.sum(axis=0)
    np.testing.assert_allclose(at_edge, [0, 16], atol=1e-2)


def test_of_too_many_samples_the_newest_wait() -> None:
    exploration, survey = _exploration(rare=4.0)
    drawn = np.random.default_rng(1).standard_normal((12_000, 2)).astype(np.float32)
    points, _ = exploration.fresh(
        survey,
        2000,
        draw=lambda n: drawn[:n],
        tries=np.zeros(16, np.float32),
        rng=np.random.default_rng(1),
    )
    taken = {tuple(row) for row in points.tolist()}
    left = [tuple(row) for row in drawn.tolist() if tuple(row) not in taken]
    assert [tuple(row) for row in exploration._waiting.tolist()] == left[-8192:]


def test_lines_are_those_of_the_publication() -> None:
    exploration, survey = _exploration(rare=4.0)
    # On a diagonal, so that noise alone leaves it.
    along = np.linspace(-2, 2, len(survey), dtype=np.float32)
    elites = np.stack([along, along], axis=1)
    rng = np.random.default_rng(1)
    points = exploration.lines(survey, 20_000, elites=lambda rows: elites[rows], rng=rng)
    across = points[:, 0] - points[:, 1]
    assert across.std() == pytest.approx(0.05 * 2**0.5, rel=0.03)
    # p + 0.2 g (q - p) with p and q alike and g normal: E (q - p)^2 is twice the variance of p.
    variance = along.var() * (1 + 0.2**2 * 2) + 0.05**2 / 2
    assert points.mean(axis=1).var() == pytest.approx(variance, rel=0.03)


def test_lines_end_within_the_norm() -> None:
    exploration, survey = _exploration(rare=4.0)
    rng = np.random.default_rng(1)
    elites = rng.standard_normal((len(survey), 2)).astype(np.float32) * 5
    points = exploration.lines(survey, 200, elites=lambda rows: elites[rows], rng=rng)
    assert points.shape == (200, 2)
    assert np.linalg.norm(points, axis=1).max() <= 6 * (1 + 1e-5)


def test_candidates_for_one_region_give_way_to_those_for_another() -> None:
    many = [16 * x + y for x in (8, 9, 10, 11) for y in (0, 1, 2)]
    few = [192, 193, 208, 209]
    from_few = [
        len(set(_chosen(_crowded(), many + few, 8, rng=np.random.default_rng(seed))) & set(few))
        for seed in range(20)
    ]
    # Half of them, and not the quarter that the candidates make up.
    assert np.mean(from_few) > 3
