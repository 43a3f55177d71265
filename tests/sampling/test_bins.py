"""Bins along measures, and their combinations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.sampling import JointBins, MeasureBins, SamplingError

SHAPE = MeasureBins(
    measure=1, intervals=[(-math.inf, -0.01), (0.0, math.inf)], names=["triangle", "square"]
)
COLOUR = MeasureBins(
    measure=0, intervals=[(-math.inf, -0.01), (0.0, math.inf)], names=["red", "blue"]
)
BOUNDS = st.lists(st.integers(-20, 20), min_size=2, max_size=8, unique=True).map(sorted)


@given(BOUNDS, st.lists(st.floats(width=32), min_size=1, max_size=30))
def test_label_is_the_one_half_open_interval_that_holds_the_value(
    bounds: list[int], values: list[float]
) -> None:
    intervals = [
        (float(low), float(high)) for low, high in zip(bounds[::2], bounds[1::2], strict=False)
    ]
    labels = MeasureBins(measure=0, intervals=intervals).labels(torch.tensor(values)[:, None])
    for value, label in zip(values, labels.tolist(), strict=True):
        holding = [i for i, (low, high) in enumerate(intervals) if low <= value < high]
        assert holding == ([label] if label >= 0 else [])


def test_published_bins_drop_the_doubtful_middle() -> None:
    measures = torch.zeros(6, 2)
    measures[:, 1] = torch.tensor([-math.inf, -0.5, -0.01, -1e-6, 0.0, 0.3])
    assert SHAPE.labels(measures).tolist() == [0, 0, -1, -1, 1, 1]


def test_joint_bins_follow_the_groups_of_the_shapes() -> None:
    joint = JointBins([SHAPE, COLOUR])
    measures = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -0.005]])
    assert joint.names == ("triangle red", "triangle blue", "square red", "square blue")
    assert joint.index(joint.labels(measures)).tolist() == [0, 1, 2, 3, -1]


def test_nameless_bins_are_named_by_measure_and_interval() -> None:
    joint = JointBins([MeasureBins(measure=3, intervals=[(0.0, 1.0), (1.0, 2.0)])])
    assert joint.names == ("3:0", "3:1")


@pytest.mark.parametrize(
    "intervals", [[], [(1.0, 0.0)], [(0.0, 0.0)], [(0.0, 2.0), (1.0, 3.0)], [(math.nan, 1.0)]]
)
def test_senseless_intervals_are_refused(intervals: list[tuple[float, float]]) -> None:
    with pytest.raises(SamplingError, match="measure 0"):
        MeasureBins(measure=0, intervals=intervals)


def test_names_and_intervals_must_match() -> None:
    with pytest.raises(SamplingError, match="2 intervals but 1 names"):
        MeasureBins(measure=0, intervals=[(0.0, 1.0), (1.0, 2.0)], names=["one"])


def test_a_measure_that_does_not_exist_is_named() -> None:
    with pytest.raises(SamplingError, match=r"measure 1.*only 1"):
        SHAPE.labels(torch.zeros(3, 1))


def test_no_bins_at_all_are_refused() -> None:
    with pytest.raises(SamplingError, match="at least one measure"):
        JointBins([])


def test_a_row_without_one_label_is_in_no_joint_bin() -> None:
    three = MeasureBins(measure=2, intervals=[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)])
    joint = JointBins([SHAPE, three, COLOUR])
    rows = [(1, 2, 1), (1, 2, -1), (1, -1, 1), (-1, 2, 1), (0, 1, 0), (-1, 0, 0), (-1, -1, -1)]
    assert joint.index(torch.tensor(rows)).tolist() == [11, -1, -1, -1, 2, -1, -1]
    assert joint.names[11] == "square 2:2 blue"
    assert joint.names[2] == "triangle 2:1 red"


def test_intervals_of_one_measure_are_found_together() -> None:
    low, high = (MeasureBins(measure=1, intervals=[each]) for each in ((0.0, 1.0), (2.0, 3.0)))
    assert JointBins([low, COLOUR, high]).intervals == {
        1: [(0.0, 1.0), (2.0, 3.0)],
        0: COLOUR.intervals,
    }
    JointBins([low, COLOUR]).check(2)
    with pytest.raises(SamplingError, match=r"measure 1.*only 1"):
        JointBins([COLOUR, low]).check(1)


def test_measures_are_counted_from_zero() -> None:
    with pytest.raises(SamplingError, match="bins of measure -1"):
        MeasureBins(measure=-1, intervals=[(0.0, 1.0)])
