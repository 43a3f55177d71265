"""Where an archive has elites, and how good they are."""

import matplotlib as mpl
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures.measure_axis import measure_label
from qdgs_lightning.search.archive import Archive
from qdgs_lightning.search.coverage import Coverage

_EMPTY = "0.85"


def archive_heatmap(archive: Archive, *, measures: tuple[int, int] = (0, 1)) -> Figure:
    """Draw the objective over two measures of an archive; cells without an elite are grey.

    Where there are more than two measures, a cell shows its best elite over all the others. Axes
    are labelled by the names of the measures and, where the archive knows them, their two ends.

    Args:
        archive: The archive, of two measures or more.
        measures: Which measures the columns and the rows are.

    Returns:
        A figure of 6.4 x 5.2 inches with two labelled axes and a colour bar. In its title are
        the elites, the share of the cells shown that hold one, that of all cells, and QD-score.

    Raises:
        QDGSError: The archive lacks one of the measures, or they are the same.
    """
    x, y = measures
    names = archive.metadata.measure_names
    if x == y or not all(0 <= measure < len(names) for measure in measures):
        raise QDGSError(
            f"An archive with the measures {', '.join(names)} has no heatmap of measures {x} and "
            f"{y}: give two different indices below {len(names)}."
        )
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(_EMPTY)
    (left, right), (bottom, top) = (archive.metadata.ranges[measure] for measure in measures)
    image = axes.imshow(
        archive.heatmap(x=x, y=y).numpy(),
        extent=(left, right, bottom, top),
        origin="lower",
        aspect="auto",
        interpolation="nearest",  # a cell is a cell: no objective is invented between two
        cmap=_best_stands_out(),
    )
    figure.colorbar(image, ax=axes, label="objective (higher is better)")
    ends = archive.metadata.measure_ends
    axes.set_xlabel(measure_label(names[x], ends[x], inches=4.6))
    axes.set_ylabel(measure_label(names[y], ends[y], inches=4.4))
    axes.set_title(_title(archive, measures), fontsize="medium")
    return figure


def _title(archive: Archive, measures: tuple[int, int]) -> str:
    """Say how many cells are filled: of those shown, which are all only where two measures are."""
    stats, shown = archive.stats, Coverage.of(archive, measures=measures).axes.share
    elites, score = f"{stats.num_elites:,} elites", f"QD-score {stats.qd_score:,.0f}"
    if len(archive.metadata.measure_names) == 2:
        return f"{elites}, coverage {shown:.1%}, {score}"
    return (
        f"{elites} in {shown:.1%} of these cells ({stats.coverage:.1%} of all), {score};\n"
        "best over the other measures"
    )


def _best_stands_out() -> ListedColormap:
    """Return cividis, which looks the same to colour-blind readers, with grey where no value is."""
    colours = mpl.colormaps["cividis"].with_extremes(bad=_EMPTY)
    assert isinstance(colours, ListedColormap)
    return colours
