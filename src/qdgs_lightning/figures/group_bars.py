"""How accurate each arm of an experiment is on each group."""

from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure

from qdgs_lightning.errors import QDGSError


def group_bars(
    accuracies: Mapping[str, Mapping[str, float]],
    *,
    chance: float | None = None,
) -> Figure:
    """Draw one bar per group and arm, the arms of a group side by side.

    Args:
        accuracies: For each arm, such as ``none`` and ``qd``, the accuracy in [0, 1] of each
            group; every arm has the same groups.
        chance: The accuracy of guessing, drawn as a dotted line.

    Returns:
        A figure whose width grows with the number of bars; each bar carries its value.

    Raises:
        QDGSError: There is no arm, or the arms differ in their groups.
    """
    groups = list(next(iter(accuracies.values()), {}))
    if not groups or any(set(arm) != set(groups) for arm in accuracies.values()):
        listing = "; ".join(f"{name}: {', '.join(arm)}" for name, arm in accuracies.items())
        raise QDGSError(f"Bars need arms that all have the same groups, but got '{listing}'.")
    width = 0.85 / len(accuracies)
    figure = Figure(
        figsize=(max(6.4, 0.42 * len(groups) * len(accuracies) + 2), 4.2), layout="constrained"
    )
    axes = figure.subplots()
    colours = mpl.color_sequences["petroff10"]  # made to be told apart by colour-blind readers
    for index, (arm, values) in enumerate(accuracies.items()):
        shift = (index - (len(accuracies) - 1) / 2) * width
        heights = [values[group] for group in groups]
        bars = axes.bar(
            [position + shift for position in range(len(groups))],
            heights,
            width * 0.92,
            label=arm,
            color=colours[index % len(colours)],
        )
        axes.bar_label(bars, [f"{100 * height:.0f}" for height in heights], fontsize=8, padding=1)
    if chance is not None:
        axes.axhline(chance, color="0.3", linestyle=":", linewidth=1.2, label="chance")
    axes.set_xticks(range(len(groups)), groups)
    axes.set(ylabel="accuracy (labels in %)", ylim=(0, 1.08), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(accuracies) + 1, frameon=False)
    return figure
