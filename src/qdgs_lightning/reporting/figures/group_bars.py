"""How accurate each arm of an experiment is on each group."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures.percent_axis import percent_ticks

_BAR = 0.42  # inches
_CHARACTER = 0.085  # inches, of a tick's label

_Arms = Mapping[str, Mapping[str, float]]
_Intervals = Mapping[str, Mapping[str, tuple[float, float]]]


def group_bars(
    accuracies: _Arms,
    *,
    chance: float | None = None,
    intervals: _Intervals | None = None,
    differences: Sequence[str] = (),
) -> Figure:
    """Draw one bar per group and arm, the arms of a group side by side.

    Args:
        accuracies: For each arm, such as ``none`` and ``qd``, the accuracy in [0, 1] of each
            group; every arm has the same groups.
        chance: Accuracy of guessing, drawn as a dotted line.
        intervals: For some bars of each arm the lower and upper end of an interval in [0, 1], drawn
            as an error bar; NaN draws none.
        differences: Those of the names that are differences of accuracies and not accuracies, such
            as ``gap``. They have a panel and an axis of their own, in points, and less is better.

    Returns:
        A figure whose width grows with the number of bars; each bar carries its value in percent.

    Raises:
        QDGSError: There is no arm, the arms differ in their groups, or nothing is an accuracy.

    Example:
        >>> accuracies = {"none": {"red": 0.98, "blue": 0.05, "gap": 0.93}}
        >>> group_bars(accuracies, chance=0.5, differences=["gap"])
    """
    groups = list(next(iter(accuracies.values()), {}))
    apart = [group for group in groups if group in differences]
    compared = [group for group in groups if group not in apart]
    if not compared or any(set(arm) != set(groups) for arm in accuracies.values()):
        listing = "; ".join(f"{name}: {', '.join(arm)}" for name, arm in accuracies.items())
        raise QDGSError(f"Bars need arms that all have the same groups, but got '{listing}'.")
    panels = [panel for panel in (compared, apart) if panel]
    # Inches of a group: of its bars, or of the longest word below them.
    words = (word for group in groups for word in group.split())
    room = max(_BAR * len(accuracies), _CHARACTER * (2 + max(map(len, words))))
    margins = 1 + len(panels)
    width = max(6.4, room * len(groups) + margins)
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    first, *rest = figure.subplots(
        1, len(panels), squeeze=False, width_ratios=[len(panel) for panel in panels]
    )[0]
    characters = int((width - margins) / len(groups) / _CHARACTER)
    _draw(first, compared, accuracies, intervals or {}, characters)
    first.set(ylabel="accuracy", ylim=(0, 1.08), yticks=[0, 0.25, 0.5, 0.75, 1])
    first.yaxis.set_major_formatter(percent_ticks())
    if chance is not None:
        first.axhline(chance, color="0.3", linestyle=":", linewidth=1.2, label="chance")
    for axes in rest:
        _draw(axes, apart, accuracies, intervals or {}, characters)
        axes.set_ylabel("difference in percentage points\n(less is better)")
        axes.set_ylim(bottom=0)
        axes.margins(y=0.1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    handles, labels = first.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=min(len(labels), 5), frameon=False
    )
    return figure


def _draw(
    axes: Axes, groups: Sequence[str], arms: _Arms, intervals: _Intervals, characters: int
) -> None:
    """Draw the bars of some groups, their error bars and their values."""
    width = 0.85 / len(arms)
    colours = mpl.color_sequences["petroff10"]  # made to be told apart by colour-blind readers
    for index, (arm, values) in enumerate(arms.items()):
        shift = (index - (len(arms) - 1) / 2) * width
        places = [position + shift for position in range(len(groups))]
        heights = [values[group] for group in groups]
        axes.bar(places, heights, width * 0.92, label=arm, color=colours[index % len(colours)])
        for place, group, height in zip(places, groups, heights, strict=True):
            low, high = intervals.get(arm, {}).get(group, (math.nan, math.nan))
            if not math.isnan(low + high):
                half = (high - low) / 2  # around its middle: an interval need not hold the value
                axes.errorbar(place, low + half, half, color="0.2", capsize=3, linewidth=1.2)
            axes.annotate(
                f"{100 * height:.1f}",
                (place, height if math.isnan(high) else max(height, high)),
                (0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set_xticks(range(len(groups)), [textwrap.fill(group, characters) for group in groups])
    axes.spines[["top", "right"]].set_visible(False)
