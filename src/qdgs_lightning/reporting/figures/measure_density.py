"""How several sets of images spread over the measures, side by side."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures.measure_axis import Ends, measure_label
from qdgs_lightning.reporting.figures.percent_axis import percent_ticks
from qdgs_lightning.search.archive import Archive

_EMPTY = "0.85"
_TILES = 40


def measure_density(
    measures: Mapping[str, Tensor],
    *,
    names: Sequence[str],
    weights: Mapping[str, Tensor] | None = None,
    archives: Mapping[str, Archive] | None = None,
    cuts: Mapping[str, Sequence[float]] | None = None,
    ends: Mapping[str, Ends] | None = None,
) -> Figure:
    """Draw the density of sets of images over pairs of measures.

    A row of panels is a pair of measures, with the same axes and (logarithmic) shades for every
    set; tiles without an image are grey. A set that comes from an archive has the archive's heatmap
    beside it, the best objective over all other measures, where the archive has both measures.

    Args:
        measures: For each set the measures of its images, shape ``[n, k]``.
        names: What the k measures are called, two or more.
        weights: For each set how often each image counts, shape ``[n]``; once if left out.
        archives: For those of the sets that come from one, the archive.
        cuts: For some measures where classes end, drawn as lines.
        ends: For some measures descriptions of their low and high end, for the labels of axes.

    Returns:
        A figure of about 3.4 inches a panel.

    Raises:
        QDGSError: There is no set or image, or fewer than two measures.
    """
    width = len(names)
    fitting = [m.shape[1:] == (width,) and len(m) > 0 for m in measures.values()]
    if width < 2 or not fitting or not all(fitting):
        shapes = {name: list(values.shape) for name, values in measures.items()}
        raise QDGSError(
            f"Measures of shapes {shapes} called {', '.join(names)} have no density over pairs: "
            "give one set of images or more, and two measures or more of each."
        )
    archives, ends = archives or {}, ends or {}
    pairs = list(combinations(range(width), 2))
    panels = [(name, False) for name in measures] + [(name, True) for name in archives]
    panels.sort(key=lambda panel: list(measures).index(panel[0]))
    figure = Figure(figsize=(3.4 * len(panels) + 0.8, 3.1 * len(pairs) + 0.5), layout="constrained")
    grid = figure.subplots(len(pairs), len(panels), squeeze=False)
    for row, (x, y) in zip(grid, pairs, strict=True):
        of_pair = [
            archive for archive in archives.values() if _places(archive, names, x, y) is not None
        ]
        limits = [_limits(measures, of_pair, names, axis) for axis in (x, y)]
        tiles = {
            name: _share_per_tile(values, x, y, limits, (weights or {}).get(name))
            for name, values in measures.items()
        }
        seen = np.concatenate([shares[shares > 0] for shares in tiles.values()])
        # Logarithmic: beside a prior's one peak an even spread would look like nothing.
        shades = LogNorm(100 * seen.min(), 100 * max(seen.max(), 2 * seen.min()))
        heat, density = None, None
        for axes, (name, is_archive) in zip(row, panels, strict=True):
            axes.set(xlim=limits[0], ylim=limits[1])
            axes.set_xlabel(measure_label(names[x], ends.get(names[x]), inches=2.4))
            if axes is row[0]:  # the others have the same axis
                axes.set_ylabel(measure_label(names[y], ends.get(names[y]), inches=2.9))
            axes.set_facecolor(_EMPTY)
            if is_archive:
                heat = _heatmap(axes, archives[name], names, x, y) or heat
                axes.set_title(f"{name}: elites", fontsize="medium")
                continue
            shares = 100 * tiles[name].T
            edges = [np.linspace(*limit, _TILES + 1) for limit in limits]
            density = axes.pcolormesh(
                *edges, np.ma.masked_equal(shares, 0), norm=shades, cmap="cividis"
            )
            axes.set_title(f"{name}: {len(measures[name]):,} images", fontsize="medium")
            for axis, line in ((x, axes.axvline), (y, axes.axhline)):
                for cut in (cuts or {}).get(names[axis], ()):
                    line(cut, color="0.2", linewidth=0.8, linestyle=":")
        if density is not None:
            bar = figure.colorbar(
                density,
                ax=row,
                label="share of the images per tile",
                ticks=LogLocator(subs=(1, 2, 5)),
                format=percent_ticks(xmax=100),
            )
            bar.ax.minorticks_off()
        if heat is not None:
            figure.colorbar(heat, ax=row, label="objective of the elite")
    return figure


def _places(archive: Archive, names: Sequence[str], x: int, y: int) -> tuple[int, int] | None:
    """Which of the archive's measures two are, if it has them."""
    own = archive.metadata.measure_names
    if names[x] not in own or names[y] not in own:
        return None
    return own.index(names[x]), own.index(names[y])


def _limits(
    measures: Mapping[str, Tensor], archives: Sequence[Archive], names: Sequence[str], axis: int
) -> tuple[float, float]:
    """What an axis must span for every set and archive."""
    ends = [float(end) for values in measures.values() for end in values[:, axis].aminmax()]
    for archive in archives:
        ends += archive.metadata.ranges[archive.metadata.measure_names.index(names[axis])]
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _share_per_tile(
    values: Tensor,
    x: int,
    y: int,
    limits: Sequence[tuple[float, float]],
    weights: Tensor | None,
) -> npt.NDArray[np.float64]:
    """Share of a set in every tile, shape ``[columns, rows]``."""
    array = values.detach().cpu().double().numpy()
    weigh = np.ones(len(array)) if weights is None else weights.cpu().double().numpy()
    counts, _, _ = np.histogram2d(
        array[:, x], array[:, y], bins=_TILES, range=limits, weights=weigh / weigh.sum()
    )
    return np.asarray(counts)


def _heatmap(
    axes: Axes, archive: Archive, names: Sequence[str], x: int, y: int
) -> "mpl.image.AxesImage | None":
    """Draw the best objective per cell, in the axes of the densities."""
    places = _places(archive, names, x, y)
    if places is None:
        return None
    (left, right), (bottom, top) = (archive.metadata.ranges[place] for place in places)
    image = axes.imshow(
        np.ma.masked_invalid(archive.heatmap(x=places[0], y=places[1]).numpy()),
        extent=(left, right, bottom, top),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="cividis",
    )
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    return image
