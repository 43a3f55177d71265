"""How the accuracies of groups, and the ratios between them, move while a model trains."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures.percent_axis import percent_ticks


def fairness_curve(
    epochs: Sequence[float],
    *,
    accuracies: Mapping[str, Sequence[float]],
    ratios: Mapping[str, Sequence[float]],
    heading: str = "",
) -> Figure:
    """Draw disparate impact over epochs, and below it the accuracies that it comes from.

    Args:
        epochs: When each measurement was made, in epochs trained; ascending.
        accuracies: For each group its accuracy in [0, 1] at each measurement.
        ratios: For each ratio of accuracies, such as ``worst / best``, its value at each.
        heading: Stands above all.

    Returns:
        A figure of 7.2 x 5.6 inches. Both panels share the epochs and are in percent;
        legends hold the last values, the highest first.

    Raises:
        QDGSError: There is no measurement, group or ratio, or their numbers differ.

    Example:
        >>> accuracies = {"dark": [0.80, 0.86], "light": [0.90, 0.92]}
        >>> fairness_curve([1, 2], accuracies=accuracies, ratios={"dark / light": [0.889, 0.935]})
    """
    lengths = {len(values) for values in (*accuracies.values(), *ratios.values())}
    if not epochs or not accuracies or not ratios or lengths != {len(epochs)}:
        raise QDGSError(
            f"{len(epochs)} epochs, {len(accuracies)} groups and {len(ratios)} ratios with "
            f"{sorted(lengths)} values make no curve: give one value or more for every epoch."
        )
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
    # Ratios are grey, lest they be taken for groups.
    _draw(above, epochs, ratios, colours=("0.15", "0.55"))
    # Made to be told apart by colour-blind readers.
    _draw(below, epochs, accuracies, colours=mpl.color_sequences["petroff10"])
    above.set(ylabel="disparate impact\n(ratio of accuracies)")
    above.set_title(heading, fontsize="medium")
    below.set(xlabel="epochs trained", ylabel="accuracy")
    for axes in (above, below):
        axes.yaxis.set_major_formatter(percent_ticks())
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    return figure


def _draw(
    axes: Axes,
    epochs: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    colours: Sequence[Any],
) -> None:
    """Draw lines with a point for each measurement, and a legend beside them."""
    for index, (name, values) in enumerate(curves.items()):
        axes.plot(
            epochs,
            values,
            marker="o",
            markersize=3.5,
            linewidth=1.8,
            color=colours[index % len(colours)],
            label=f"{name}  {values[-1]:.1%}",
        )
    handles, labels = axes.get_legend_handles_labels()
    last = [values[-1] for values in curves.values()]
    order = sorted(range(len(last)), key=lambda index: -last[index])
    axes.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize="small",
    )
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
