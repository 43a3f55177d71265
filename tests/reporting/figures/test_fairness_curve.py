"""Curves hold the values that were given, over the epochs that were given."""

import pytest
from matplotlib.axes import Axes

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import fairness_curve

ACCURACIES = {"dark": [0.7, 0.8], "light": [0.9, 0.95]}
RATIOS = {"worst / best": [0.7 / 0.9, 0.8 / 0.95]}


def curves(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    return {
        str(line.get_label()): [tuple(point) for point in line.get_xydata().tolist()]  # type: ignore[union-attr]
        for line in axes.get_lines()
    }


def test_ratios_are_above_and_accuracies_below() -> None:
    figure = fairness_curve([0.5, 2], accuracies=ACCURACIES, ratios=RATIOS, heading="skin")
    above, below = figure.axes
    assert curves(above) == {"worst / best  84.2%": [(0.5, 0.7 / 0.9), (2.0, 0.8 / 0.95)]}
    assert curves(below) == {
        "dark  80.0%": [(0.5, 0.7), (2.0, 0.8)],
        "light  95.0%": [(0.5, 0.9), (2.0, 0.95)],
    }
    legend = below.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["light  95.0%", "dark  80.0%"]
    colours = {line.get_color() for line in below.get_lines()}
    assert len(colours) == 2
    assert above.get_title() == "skin"
    assert above.get_xlim() == below.get_xlim()
    ticks = below.xaxis.get_major_locator().tick_values(0.5, 2)
    assert all(float(tick).is_integer() for tick in ticks)  # no epoch is half trained
    for axes in (above, below):  # as the legends say it
        assert axes.yaxis.get_major_formatter()(0.905, 0) == "90.5%"


@pytest.mark.parametrize(
    ("epochs", "accuracies", "ratios"),
    [
        ([], {"dark": [], "light": []}, {"worst / best": []}),
        ([1, 2], {}, RATIOS),
        ([1, 2], ACCURACIES, {}),
        ([1, 2, 3], ACCURACIES, RATIOS),
        ([1, 2], {"dark": [0.5]}, RATIOS),
    ],
)
def test_what_makes_no_curve_is_refused(
    epochs: list[float], accuracies: dict[str, list[float]], ratios: dict[str, list[float]]
) -> None:
    with pytest.raises(QDGSError, match="make no curve"):
        fairness_curve(epochs, accuracies=accuracies, ratios=ratios)
