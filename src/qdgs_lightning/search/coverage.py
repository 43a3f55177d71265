"""Coverage of an archive: how much of what can be filled holds an elite.

A grid of many axes has far more cells than a search evaluates latents, and its edges lie beyond
what the prior reaches, so that the share of all cells says little. The shares here are of cells
that can be filled, or that matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdgs_lightning.search.archive import Archive

Intervals = Sequence[tuple[float, float]]
Mask = NDArray[np.bool_]
_ROUNDING = 1e-6  # of a cell: a bound on the edge of a cell counts as on it


@dataclass(frozen=True, kw_only=True)
class CellCount:
    """Cells that can be filled, and how many of them hold an elite.

    Attributes:
        filled: Cells with an elite.
        cells: Cells in all.
    """

    filled: int
    cells: int

    @property
    def share(self) -> float:
        """Share of the cells that hold an elite, in [0, 1]; NaN where there is no cell."""
        return self.filled / self.cells if self.cells else float("nan")


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Coverage of an archive, by what is counted.

    Attributes:
        all: All cells of the grid.
        budget: As many cells as the evaluations could have filled, each of them one: the number of
            evaluations, or of all cells where these are fewer.
        prior: Cells inside the prior: along every measure between those of the 1 % and the 99 %
            quantile of the prior sample that opened the search. None for archives that do not know
            them.
        axes: Cells of the grid of some measures alone; one is filled if it holds an elite anywhere
            along the others.
        clear: Those among `axes` that lie inside the prior and, along every measure, wholly inside
            an interval: cells whose elites are labelled without doubt. None where no intervals
            are given or the prior is not known.
    """

    all: CellCount
    budget: CellCount
    prior: CellCount | None
    axes: CellCount
    clear: CellCount | None

    @classmethod
    def of(
        cls,
        archive: Archive,
        *,
        measures: Sequence[int] | None = None,
        intervals: Mapping[int, Intervals] | None = None,
    ) -> "Coverage":
        """Count the cells of an archive.

        Args:
            archive: The archive.
            measures: Indices of the measures that `axes` is about; those of `intervals`, or all,
                by default.
            intervals: Bins along some measures, by the index of the measure, which must be among
                `measures`.

        Example:
            >>> bins = {0: [(-inf, -0.3), (0.3, inf)], 1: [(-inf, -0.3), (0.3, inf)]}
            >>> coverage = Coverage.of(archive, intervals=bins)
            >>> coverage.all.share, coverage.axes.share
            (0.012, 1.0)
        """
        grid = archive.metadata.grid
        if measures is None:
            measures = sorted(intervals) if intervals else range(len(grid))
        index = archive.grid_index.numpy()
        elites, cells = len(archive), int(np.prod(grid, dtype=object))
        inside = _inside_prior(archive)
        everywhere = [np.ones(grid[m], np.bool_) for m in measures]
        clear = None
        if inside is not None and intervals:
            clear = [
                inside[m] & _within(intervals[m], archive.metadata.ranges[m], grid[m])
                if m in intervals
                else inside[m]
                for m in measures
            ]
        columns = index[:, list(measures)]
        return cls(
            all=CellCount(filled=elites, cells=cells),
            budget=CellCount(filled=elites, cells=min(cells, archive.metadata.evaluations)),
            prior=None if inside is None else _count(index, inside),
            axes=_count(columns, everywhere),
            clear=None if clear is None else _count(columns, clear),
        )

    def shares(self) -> dict[str, float]:
        """Return the shares for logs and cards, by name; kinds of which there is no cell left out.

        Names are ``coverage`` for all cells, ``coverage_of_budget``, ``coverage_of_prior``,
        ``coverage_of_bins`` (the axes) and ``coverage_of_clear_cells``.
        """
        counts = {
            "coverage": self.all,
            "coverage_of_budget": self.budget,
            "coverage_of_prior": self.prior,
            "coverage_of_bins": self.axes,
            "coverage_of_clear_cells": self.clear,
        }
        return {name: c.share for name, c in counts.items() if c is not None and c.cells}


def _count(index: NDArray[np.int64], masks: Sequence[Mask]) -> CellCount:
    """Count the different cells with an elite in a product of choices along axes.

    Args:
        index: Cell of each elite along each axis, ``[n, k]``.
        masks: Which cells of each axis count.
    """
    counts = np.ones(len(index), np.bool_)
    for axis, mask in enumerate(masks):
        counts &= mask[index[:, axis]]
    filled = len(np.unique(index[counts], axis=0))
    return CellCount(filled=filled, cells=int(np.prod([m.sum() for m in masks], dtype=object)))


def _inside_prior(archive: Archive) -> list[Mask] | None:
    """Say which cells along each measure lie inside the prior; None where that is not known."""
    metadata = archive.metadata
    if metadata.prior_span is None:
        return None
    masks = []
    for (low, high), span, cells in zip(
        metadata.ranges, metadata.prior_span, metadata.grid, strict=True
    ):
        first, last = (np.clip((end - low) / (high - low) * cells, 0, cells - 1) for end in span)
        place = np.arange(cells)
        masks.append((place >= int(first)) & (place <= int(last)))
    return masks


def _within(intervals: Intervals, span: tuple[float, float], cells: int) -> Mask:
    """Say which cells along a measure lie wholly inside one of the intervals."""
    edges, slack = np.linspace(*span, cells + 1), _ROUNDING * (span[1] - span[0]) / cells
    within = np.zeros(cells, np.bool_)
    for low, high in intervals:
        within |= (edges[:-1] >= low - slack) & (edges[1:] <= high + slack)
    return within
