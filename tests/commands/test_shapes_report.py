"""Intervals and tables of the shapes experiment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qdgs_lightning.commands.shapes_report import differences, markdown, rows_of
from qdgs_lightning.commands.table_intervals import Interval, Result


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
    rows = rows_of(_results(), lambda result: float(result["test"]["balanced"]))
    # The standard deviation of 0, 1, 2 points is 1, and t(0.975, 2) / sqrt(3) is 2.484.
    assert rows == [
        ["bias", "none", "qd"],
        ["0.98", "51.0 ± 2.5", "91.0 ± 2.5"],
        ["0.80", "51.0 ± 2.5", "91.0 ± 2.5"],
    ]


def test_differences_are_paired_by_seed() -> None:
    rows = differences(_results(), "balanced")
    assert rows == [["bias", "qd - none"], ["0.98", "40.0 ± 0.0"], ["0.80", "40.0 ± 0.0"]]


def test_page_holds_the_tables() -> None:
    assert "| 0.98 | 51.0 ± 2.5 | 91.0 ± 2.5 |" in markdown(_results())


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
