"""Intervals and tables of the shapes experiment."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from qdgs_lightning.domains.shapes import GROUPS
from qdgs_lightning.domains.shapes.study_report import by_bias, markdown, ordered, terminal_table
from qdgs_lightning.studies.aggregate import Interval, Result, differences, rows_of


def _results() -> list[Result]:
    return [
        {
            "arm": arm,
            "bias": bias,
            "seed": seed,
            "test": {"balanced": base + seed / 100, "worst": base / 2},
        }
        for arm, base in (("qd", 0.9), ("none", 0.5))
        for bias in (0.8, 0.98)
        for seed in range(3)
    ]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_interval_is_student_t(values: list[float]) -> None:
    interval = Interval.of(values)
    assert interval.mean == pytest.approx(np.mean(values))
    if np.std(values) > 1e-9:
        low, high = stats.t.interval(
            0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
        )
        assert interval.mean - interval.half_width == pytest.approx(low)
        assert interval.mean + interval.half_width == pytest.approx(high)


def test_a_single_run_has_no_interval() -> None:
    assert str(Interval.of([0.875])) == "87.5"


def test_tables_follow_biases_and_arms() -> None:
    rows = rows_of(ordered(_results()), by_bias("balanced"), corner="bias")
    # The standard deviation of 0, 1, 2 points is 1, and t(0.975, 2) / sqrt(3) is 2.484.
    assert rows == [
        ["bias", "none", "qd"],
        ["0.98", "51.0 ± 2.5", "91.0 ± 2.5"],
        ["0.80", "51.0 ± 2.5", "91.0 ± 2.5"],
    ]


def test_differences_are_paired_by_seed() -> None:
    def gains(results: list[Result]) -> list[list[str]]:
        return differences(results, by_bias("balanced"), corner="bias", arm="qd", others=["none"])

    results = ordered(_results())
    head = ["bias", "qd - none"]
    assert gains(results) == [head, ["0.98", "40.0 ± 0.0"], ["0.80", "40.0 ± 0.0"]]
    lost = {"qd": 0, "none": 2}
    results = [result for result in results if result["seed"] != lost[result["arm"]]]
    assert gains(results) == [head, ["0.98", "40.0"], ["0.80", "40.0"]]


def test_page_holds_the_tables() -> None:
    page = markdown(_results())
    assert "| 0.98 | 51.0 ± 2.5 | 91.0 ± 2.5 |" in page
    assert page.startswith(
        "12 runs, 3 seeds. Every number is a percentage: the mean over seeds with its 95 % "
        "t-interval.\n"
    )


def test_one_seed_has_no_intervals_and_is_not_said_to() -> None:
    of_one_seed = [result for result in _results() if result["seed"] == 0]
    for result in of_one_seed:
        result["test"] |= {group.replace(" ", "_"): 0.5 for group in GROUPS} | {"gap": 0.1}
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal_table(of_one_seed))
    shown = console.file
    assert isinstance(shown, io.StringIO)
    assert "90.0" in shown.getvalue()
    page = markdown(of_one_seed)
    assert page.startswith("4 runs, one seed, and thus no intervals.")
    for text in (page, shown.getvalue()):
        assert "±" not in text
        assert "95" not in text


def test_biases_that_are_close_have_rows_of_their_own() -> None:
    results = [result | {"bias": result["bias"] + 0.005} for result in _results()]
    rows = rows_of(ordered([*results, *_results()]), by_bias("worst"), corner="bias")
    assert [row[0] for row in rows] == ["bias", "0.985", "0.98", "0.805", "0.80"]


def test_pools_are_reported_with_the_annotator_s_confusion() -> None:
    audit = {
        "agreement": 0.99,
        "junk": 0.01,
        "groups": [0.25, 0.25, 0.25, 0.25],
        "confusion": [[10 * row + column for column in range(5)] for row in range(5)],
    }
    results = [result | {"audit": audit} for result in _results() if result["arm"] == "qd"]
    text = markdown(results)
    assert "| qd | 99.0 ± 0.0 | 1.0 ± 0.0 | 25.0 ± 0.0 |" in text
    assert "| truth | said red triangle | said blue triangle | said red square |" in text
    assert "| red square | 20 | 21 | 22 | 23 | 24 |" in text
    assert "| junk | 40 | 41 | 42 | 43 | 44 |" in text
