"""Bars have the heights, the names and the intervals that were given."""

import math
from itertools import pairwise

import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import group_bars

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
    assert {text.get_text() for text in axes.texts} == {"98.0", "5.0", "90.0", "85.0"}
    edges = [bar.get_x() for bars in (none, qd) for bar in bars if isinstance(bar, Rectangle)]
    assert edges == pytest.approx([-0.408, 0.592, 0.017, 1.017], abs=0.002)
    assert none[0].get_facecolor() != qd[0].get_facecolor()


def test_accuracies_are_in_percent() -> None:
    axes = group_bars(ACCURACIES).axes[0]
    labels = [axes.yaxis.get_major_formatter()(tick, 0) for tick in axes.get_yticks()]
    assert labels == ["0%", "25%", "50%", "75%", "100%"]


def test_error_bars_are_the_intervals_that_were_given() -> None:
    intervals = {
        "none": {"red triangle": (0.97, 0.995), "blue triangle": (math.nan, math.nan)},
        "qd": {"blue triangle": (0.86, 0.9)},  # need not hold the value
    }
    (axes,) = group_bars(ACCURACIES, intervals=intervals).axes
    drawn = [bars for bars in axes.containers if isinstance(bars, ErrorbarContainer)]
    ends = [bars.lines[2][0].get_segments()[0] for bars in drawn]
    assert [segment[:, 1].tolist() for segment in ends] == [
        pytest.approx([0.97, 0.995]),
        pytest.approx([0.86, 0.9]),
    ]
    bars = [bars for bars in axes.containers if isinstance(bars, BarContainer)]
    centres = [bars[0][0], bars[1][1]]
    for segment, bar in zip(ends, centres, strict=True):
        assert isinstance(bar, Rectangle)
        assert segment[:, 0].tolist() == pytest.approx([bar.get_x() + bar.get_width() / 2] * 2)
    heights = {text.get_text(): text.xy[1] for text in axes.texts if isinstance(text, Annotation)}
    assert heights == pytest.approx({"98.0": 0.995, "5.0": 0.05, "90.0": 0.9, "85.0": 0.9})


def test_differences_stand_apart_from_accuracies() -> None:
    arms = {arm: values | {"gap": 0.4} for arm, values in ACCURACIES.items()}
    left, right = group_bars(arms, chance=0.5, differences=["gap"]).axes
    assert [label.get_text() for label in right.get_xticklabels()] == ["gap"]
    assert "gap" not in {label.get_text() for label in left.get_xticklabels()}
    assert [bars[0].get_height() for bars in right.containers] == [0.4, 0.4]
    assert "points" in right.get_ylabel()
    assert right.yaxis.get_major_formatter()(0.4, 0) == "40"
    assert right.get_ylim()[0] == 0
    assert right.get_ylim()[1] < 0.5
    assert not right.get_lines()  # chance is an accuracy


def test_long_names_do_not_run_into_each_other() -> None:
    names = ("Southeast_Asian_of_a_long_name", "a group with a name of many words", "c")
    figure = group_bars({"one": dict.fromkeys(names, 0.9)})
    figure.draw_without_rendering()
    labels = figure.axes[0].get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert [label.get_text().replace("\n", " ") for label in labels] == list(names)


def test_nothing_but_differences_is_refused() -> None:
    with pytest.raises(QDGSError, match="all have the same groups"):
        group_bars({"one": {"gap": 0.1}}, differences=["gap"])


@pytest.mark.parametrize("accuracies", [{}, {"none": {}}, {"none": {"a": 1.0}, "qd": {"b": 1.0}}])
def test_arms_of_different_groups_are_refused(accuracies: dict[str, dict[str, float]]) -> None:
    with pytest.raises(QDGSError, match="all have the same groups"):
        group_bars(accuracies)
