"""Lines go through the points of the curve, and end where the pairs do."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import roc_figure

PAIRS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=4, max_size=60)


def pairs(seed: int, n: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    same = torch.arange(n) % 2 == 0
    return 2 - same.double() + 0.3 * torch.randn(n, generator=random).double(), same


def line(axes: Axes, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64], list[float]]:
    """Return the points of a line in both widths, and where it becomes bold."""
    thin, bold = axes.lines[2 * number : 2 * number + 2]
    assert thin.get_linewidth() < bold.get_linewidth()
    assert thin.get_color() == bold.get_color()
    (x, y), (bold_x, bold_y) = (np.asarray(part.get_data(), float) for part in (thin, bold))
    return np.append(x, bold_x[1:]), np.append(y, bold_y[1:]), bold_x[:1].tolist()


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@settings(max_examples=20)  # figures are slow
@given(PAIRS)
def test_a_line_shows_the_largest_threshold_that_keeps_a_rate(rows: list[tuple[int, bool]]) -> None:
    rows += [(1, True), (9, False)]
    distances = torch.tensor([row[0] / 3 for row in rows])
    same = torch.tensor([row[1] for row in rows])
    figure = roc_figure({"few": (distances, same)})
    x, y, _ = line(figure.axes[0], 0)
    assert figure.axes[0].lines[0].get_drawstyle() == "steps-post"
    false, true, _ = roc_curve(same, -distances, drop_intermediate=False)
    first = 1 / int((~same).sum())
    assert x.tolist() == sorted({first, *false[false >= first].tolist()})
    for rate, accepted in zip(x, y, strict=True):
        assert accepted == pytest.approx(true[false <= rate].max())
    assert (x[-1], y[-1]) == (1, 1)


def test_a_line_begins_at_one_false_match_and_is_bold_from_ten() -> None:
    figure = roc_figure({"large": pairs(0, 2000), "small": pairs(1, 100)})
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == (1e-3, 1)
    for number, count in enumerate((1000, 50)):
        x, _, bold_from = line(axes, number)
        assert x[0] == 1 / count
        assert bold_from == [pytest.approx(10 / count)]
    assert axes.lines[0].get_color() != axes.lines[2].get_color()
    assert axes.xaxis.get_major_formatter()(1e-3, 0) == "0.1%"
    assert axes.yaxis.get_major_formatter()(0.9, 0) == "90%"
    assert "false match rate" in axes.get_xlabel()
    assert "true accept rate" in axes.get_ylabel()
    # From the tenth below the lowest point, or from 90 %, to just above all.
    lowest = min(line(axes, number)[1].min() for number in (0, 1))
    assert lowest < 0.9
    assert axes.get_ylim() == (math.floor(lowest * 10) / 10, 1.002)
    apart = pairs(0, 100)
    (axes,) = roc_figure({"perfect": (3.0 - 2 * apart[1].double(), apart[1])}).axes
    assert axes.get_ylim() == (0.9, 1.002)


def test_the_legend_has_numbers_of_all_pairs() -> None:
    distances, same = pairs(2, 2000)
    first, *rest = legend(roc_figure({"lfw": (distances, same)}))
    area = roc_auc_score(same, -distances)
    false, true, _ = roc_curve(same, -distances)
    equal = float(false[np.argmin(np.abs(false - (1 - true)))])
    assert first.startswith("lfw: EER ")
    assert float(first.split("EER ")[1].split("%")[0]) == pytest.approx(100 * equal, abs=0.11)
    assert first.endswith(f"AUC {area:.4f}, 1,000 + 1,000 pairs")
    assert rest == ["fewer than 10 false matches", "chance"]


def test_chance_accepts_both_kinds_equally() -> None:
    (axes,) = roc_figure({"lfw": pairs(3, 2000)}).axes
    x, y = (np.asarray(part) for part in axes.lines[-1].get_data())
    assert x.tolist() == y.tolist()
    assert (x[0], x[-1]) == (pytest.approx(1e-3), 1)


def test_a_handful_of_pairs_can_be_drawn() -> None:
    figure = roc_figure({"one": (torch.tensor([0.5, 1.5]), torch.tensor([True, False]))})
    figure.draw_without_rendering()
    assert figure.axes[0].get_xlim() == (0.1, 1)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "pairs of one benchmark or more"),
        ({"lfw": (torch.ones(9), torch.ones(9).bool())}, "lfw: All pairs are of one kind"),
        ({"lfw": (torch.full((2,), math.nan), torch.tensor([True, False]))}, "lfw: 2 of 2 dist"),
    ],
)
def test_what_has_no_curve_is_refused(
    curves: dict[str, tuple[Tensor, Tensor]], message: str
) -> None:
    with pytest.raises(QDGSError, match=message):
        roc_figure(curves)
