"""Which elites the grids of a run show."""

import pytest

from qdgs_lightning.callbacks.archive_figures import _best_per_tile, _tiles
from qdgs_lightning.search import Archive, QDSearch, SearchConfig
from tests.patches import PatchGenerator, PatchGuidance


def _archive(grid: tuple[int, int]) -> Archive:
    config = SearchConfig(grid=grid, algorithm="random", calibration=100)
    search = QDSearch(PatchGenerator(), PatchGuidance(), config)
    search.run(400)
    return search.archive


@pytest.mark.parametrize(("grid", "tiles"), [((6, 5), (6, 5)), ((30, 4), (10, 4))])
def test_the_best_elite_of_each_tile_is_shown(
    grid: tuple[int, int], tiles: tuple[int, int]
) -> None:
    archive = _archive(grid)
    assert _tiles(archive, 0, 1) == tiles
    rows = _best_per_tile(archive, 0, 1)
    # A grid of fewer cells than tiles would leave tiles empty for good.
    places = [
        tuple(index * tile // cells for index, tile, cells in zip(row, tiles, grid, strict=True))
        for row in archive.grid_index.tolist()
    ]
    best: dict[tuple[int, ...], float] = {}
    for place, objective in zip(places, archive.objective.tolist(), strict=True):
        best[place] = max(objective, best.get(place, -float("inf")))
    assert sorted(archive.objective[rows].tolist()) == sorted(best.values())
    assert {places[row] for row in rows.tolist()} == set(best)
