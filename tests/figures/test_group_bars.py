"""Bars have the heights, the names and the intervals that were given."""

import pytest
from matplotlib.container import BarContainer
from matplotlib.patches import Rectangle

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.figures import group_bars

ACCURACIES = {
    "none": {"red triangle": 0.98, "blue triangle": 0.05},
    "qd": {"blue triangle": 0.85, "red triangle": 0.9},
}


def test_each_arm_has_a_bar_per_group_side_by_side() -> None:
    figure = group_bars(ACCURACIES, chance=0.5)
    (axes,) = figure.axes
    none, qd = (bars for bars in axes.containers if isinstance(bars, BarContainer))
    assert (none.get_label(), qd.get_label()) == ("none", "qd")
    assert [bar.get_height() for bar in none] == [0.98, 0.05]
    assert [bar.get_height() for bar in qd] == [0.9, 0.85]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "red triangle",
        "blue triangle",
    ]
    assert {text.get_text() for text in axes.texts} == {"98", "5", "90", "85"}
    edges = [bar.get_x() for bars in (none, qd) for bar in bars if isinstance(bar, Rectangle)]
    assert edges == pytest.approx([-0.408, 0.592, 0.017, 1.017], abs=0.002)
    assert none[0].get_facecolor() != qd[0].get_facecolor()


@pytest.mark.parametrize("accuracies", [{}, {"none": {}}, {"none": {"a": 1.0}, "qd": {"b": 1.0}}])
def test_arms_of_different_groups_are_refused(accuracies: dict[str, dict[str, float]]) -> None:
    with pytest.raises(QDGSError, match="all have the same groups"):
        group_bars(accuracies)
