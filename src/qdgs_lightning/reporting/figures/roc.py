"""How many pairs of one person are accepted, and how many of two with them."""

import math
from collections.abc import Mapping

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.metrics.verification.accuracy import Roc, check_pairs
from qdgs_lightning.reporting.figures.percent_axis import percent_ticks

_FEW = 10  # a rate of fewer false matches is known to a third at best


def roc_figure(curves: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw true accept rate against false match rate, one line per benchmark or group.

    A line is of steps: at a rate it shows what the largest threshold accepts that keeps the rate.
    It begins at one false match, for a smaller share of so many pairs cannot be seen, and is thin
    up to the tenth. The legend has the equal error rate, the area under the curve, and how many
    pairs of one person and of two there are.

    Args:
        curves: For each line its squared distances, shape ``[n]``, and whether pairs are of one
            person, bool, shape ``[n]``.

    Returns:
        A figure of 6.4 inches width that grows with the number of lines; the axis of false match
        rates is logarithmic and begins at one false match in the largest set.

    Raises:
        QDGSError: There is no curve, or pairs are of one kind only or not finite.
    """
    if not curves:
        raise QDGSError("An ROC figure needs the pairs of one benchmark or more, but got none.")
    figure = Figure(figsize=(6.4, 4.6 + 0.2 * len(curves)), layout="constrained")
    axes = figure.subplots()
    colours = mpl.color_sequences["petroff10"]  # made to be told apart by colour-blind readers
    left, bottom = 0.1, 1.0
    for index, (name, (distances, is_same)) in enumerate(curves.items()):
        distances = distances.detach().cpu().double().flatten()
        same = is_same.detach().cpu().bool().flatten()
        check_pairs(distances, same, protocol="exhaustive", num_folds=2, whose=f"{name}: ")
        roc = Roc.of(distances, same)
        rates, accepted = _steps(roc)
        left, bottom = min(left, rates[0]), min(bottom, accepted[0])
        few = sum(round(rate * roc.num_different) < _FEW for rate in rates)
        label = (
            f"{name}: EER {roc.eer():.2%}, AUC {roc.auc():.4f}, "
            f"{int(same.sum()):,} + {roc.num_different:,} pairs"
        )
        for part, width, text in (
            (slice(few + 1), 0.8, None),
            (slice(few, None), 1.8, label),
        ):
            axes.plot(
                rates[part],
                accepted[part],
                drawstyle="steps-post",
                linewidth=width,
                color=colours[index % len(colours)],
                label=text,
            )
    axes.plot([], [], linewidth=0.8, color="0.3", label=f"fewer than {_FEW} false matches")
    chance = torch.logspace(math.log10(left), 0, 100).tolist()
    axes.plot(chance, chance, linestyle=":", linewidth=1.2, color="0.3", label="chance")
    axes.set(
        xscale="log",
        xlim=(left, 1),
        ylim=(min(math.floor(bottom * 10) / 10, 0.9), 1.002),
        xlabel="false match rate (pairs of two people that are accepted)",
        ylabel="true accept rate (pairs of one person)",
    )
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.yaxis.set_major_formatter(percent_ticks())
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False, fontsize="small")
    return figure


def _steps(roc: Roc) -> tuple[list[float], list[float]]:
    """Return false match rates from that of one, in ascending order, and what they allow."""
    first = torch.tensor([1 / roc.num_different], dtype=torch.float64)
    rates = torch.unique(torch.cat([first, roc.false_match]))
    rates = rates[rates >= first]
    last = torch.searchsorted(roc.false_match, rates, right=True) - 1
    return rates.tolist(), roc.true_match[last].tolist()
