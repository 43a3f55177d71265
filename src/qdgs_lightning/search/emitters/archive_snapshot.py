"""Which cells of an archive are worth aiming at."""

import numpy as np
from numpy.typing import NDArray
from ribs.archives import GridArchive

Floats = NDArray[np.float32]
Cells = NDArray[np.intp]
# Objectives are rated between these quantiles of the elites': outliers set no scale.
_QUALITY_QUANTILES = (0.05, 0.95)
# Regions that elites are spread over: at most so many along a measure, and about so many in all.
_REGIONS_ALONG = 4
_REGIONS = 256
# A cell that is as good as its neighbours may still be worth a little.
_LEAST_GAIN = 0.02


class CellSurvey:
    """The elites of a grid archive at one moment, in units of cells and of their own quality.

    Args:
        archive: A `GridArchive` with at least one elite.
    """

    def __init__(self, archive: GridArchive) -> None:
        elites = archive.data(["objective", "measures", "index"], return_type="dict")
        self.grid = tuple(int(size) for size in archive.dims)
        self.measures: Floats = elites["measures"]
        upper = np.asarray(self.grid, np.float32)
        self.positions: Floats = np.clip(grid_position(archive, self.measures), 0, upper)
        self.objective: Floats = elites["objective"]
        low, high = np.quantile(self.objective, _QUALITY_QUANTILES)
        self.low, self.scale = float(low), float(max(high - low, 1e-6))
        self.quality: Floats = self.rate(self.objective)
        self.cell_quality = np.full(archive.cells, -np.inf, np.float32)
        self.cell_quality[elites["index"]] = self.quality
        along = min(_REGIONS_ALONG, max(2, int(_REGIONS ** (1 / len(self.grid)))))
        self._region_grid = tuple(min(along, size) for size in self.grid)
        self._elite_regions = self.region_of(elites["index"].astype(np.intp))
        self.region_sizes: Floats = np.bincount(
            self._elite_regions, minlength=int(np.prod(self._region_grid))
        ).astype(np.float32)

    def __len__(self) -> int:
        return len(self.quality)

    def rate(self, objectives: Floats) -> Floats:
        """Map objectives so that most elites lie between 0 and 1."""
        quality: Floats = ((objectives - self.low) / self.scale).astype(np.float32)
        return quality

    def centres(self, cells: Cells) -> Floats:
        """Return the middle of cells, in cells, shape ``[n, k]``."""
        return np.stack(np.unravel_index(cells, self.grid), axis=-1).astype(np.float32) + 0.5

    def cells_at(self, positions: Floats) -> Cells:
        """Return the cells that ``[n, k]`` positions fall into; outside is clipped to the edge."""
        last = np.asarray(self.grid) - 1
        corners = np.clip(np.floor(positions), 0, last).astype(np.intp)
        cells: Cells = np.ravel_multi_index(tuple(corners.T), self.grid)
        return cells

    def region_of(self, cells: Cells) -> Cells:
        """Return the coarse region of the measure space that each cell lies in."""
        corners = np.unravel_index(cells, self.grid)
        coarse = tuple(
            corner * regions // size
            for corner, regions, size in zip(corners, self._region_grid, self.grid, strict=True)
        )
        regions: Cells = np.ravel_multi_index(coarse, self._region_grid)
        return regions

    def spread_rows(self, n: int, rng: np.random.Generator) -> Cells:
        """Draw n elites: a region that holds any first, then one of its elites."""
        weights = np.cumsum(1 / self.region_sizes[self._elite_regions].astype(np.float64))
        rows: Cells = np.searchsorted(weights, rng.random(n) * weights[-1], side="right")
        return np.minimum(rows, len(self) - 1)

    def targets(self, n: int, tries: Floats, improvement: float, rng: np.random.Generator) -> Cells:
        """Draw up to n different cells beside elites: empty ones, and ones worse than a neighbour.

        Args:
            n: How many.
            tries: How often each cell of the grid was aimed at in vain.
            improvement: What raising a cell over the whole scale of quality is worth; filling an
                empty one is worth 1.
            rng: Source of the randomness.
        """
        beside = best_neighbour(self.cell_quality.reshape(self.grid)).ravel()
        cells = np.flatnonzero(beside > -np.inf)
        if not len(cells):
            return cells
        own = self.cell_quality[cells]
        gain = np.clip(beside[cells] - own + _LEAST_GAIN, 0.05 * _LEAST_GAIN, 1)
        worth = np.where(np.isinf(own), 1, improvement * gain) / (1 + tries[cells])
        # Adding Gumbel noise to log-weights draws without replacement in proportion to weights.
        keys = np.log(worth) + rng.gumbel(size=len(cells))
        n = min(n, len(cells))
        chosen = np.argpartition(-keys, n - 1)[:n]
        return cells[chosen[np.argsort(-keys[chosen])]]


def grid_position(archive: GridArchive, measures: Floats) -> Floats:
    """Express measures in cells: cell i of a measure spans [i, i + 1)."""
    scale = archive.dims / archive.interval_size.astype(np.float64)
    return ((measures - archive.lower_bounds.astype(np.float64)) * scale).astype(np.float32)


def best_neighbour(values: Floats) -> Floats:
    """Return the largest value among the 2 k cells that share a face with each cell."""
    best = np.full_like(values, -np.inf)
    for axis in range(values.ndim):
        source, target = np.moveaxis(values, axis, 0), np.moveaxis(best, axis, 0)
        np.maximum(target[1:], source[:-1], out=target[1:])
        np.maximum(target[:-1], source[1:], out=target[:-1])
    return best
