"""Disparate impact as published, and of groups that are put together."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.metrics import DisparateImpactError, disparate_impact

RFW = {"african": 0.8, "asian": 0.9, "caucasian": 1.0, "indian": 0.85}
SIDES = {"dark": ["african", "indian"], "light": ["asian", "caucasian"]}


@pytest.mark.parametrize(
    ("dark", "light", "published"),
    [(88.08, 94.05, 93.65), (88.69, 94.67, 93.68), (88.94, 94.62, 93.99)],
)
def test_published_ratios(dark: float, light: float, published: float) -> None:
    # Accuracies are published to .01, so that ratios in % may differ by .01 and their rounding.
    found = disparate_impact({"dark": dark, "light": light}, ratio=("dark", "light"))
    assert 100 * found == pytest.approx(published, abs=0.016)
    assert found == disparate_impact({"light": light, "dark": dark})


def test_worst_to_best_of_all_groups() -> None:
    assert disparate_impact(RFW) == pytest.approx(0.8)
    assert disparate_impact({name: 100 * value for name, value in RFW.items()}) == pytest.approx(
        0.8
    )


def test_merged_groups_are_averaged() -> None:
    assert disparate_impact(RFW, merge=SIDES) == pytest.approx(0.825 / 0.95)
    assert disparate_impact(RFW, merge=SIDES, ratio=("light", "dark")) == pytest.approx(
        0.95 / 0.825
    )
    some = {"dark": ["african"], "light": ["caucasian", "asian"]}
    assert disparate_impact(RFW, merge=some) == pytest.approx(0.8 / 0.95)


@given(st.dictionaries(st.text(), st.floats(0.01, 1), min_size=2))
def test_nothing_is_below_the_worst_to_the_best(accuracies: dict[str, float]) -> None:
    whole = disparate_impact(accuracies)
    assert 0 < whole <= 1
    for first in accuracies:
        for second in accuracies:
            assert disparate_impact(accuracies, ratio=(first, second)) >= whole


@pytest.mark.parametrize(
    ("accuracies", "merge", "ratio", "message"),
    [
        ({"a": 0.9}, None, None, "there are 1; give two or more"),
        ({"a": 0.0, "b": 0.0}, None, None, "accuracy of group 'a' is 0"),
        ({"a": math.nan, "b": 0.9}, None, None, "accuracy of group 'a' is nan"),
        ({"a": 0.8, "b": 0.9}, None, ("a", "c"), "no group 'c'; the groups are a, b"),
        ({"a": 0.8, "b": 0.9}, {"x": ["a"], "y": ["c"]}, None, "no group 'c'"),
        ({"a": 0.8, "b": 0.9}, {"x": ["a"], "y": []}, None, "merged group 'y'"),
        ({"a": 0.8, "b": 0.9}, {"x": ["a"], "y": ["b", "b"]}, None, "merged group 'y'"),
        ({"a": 0.8, "b": 0.9}, {"x": ["a", "b"]}, None, "merged into 1"),
        ({"a": 0.8, "b": 0.9}, {"x": ["a"], "y": ["b"]}, ("a", "b"), "no group 'a'.* are x, y"),
    ],
)
def test_groups_without_a_ratio(
    accuracies: Mapping[str, float],
    merge: Mapping[str, Sequence[str]] | None,
    ratio: tuple[str, str] | None,
    message: str,
) -> None:
    with pytest.raises(DisparateImpactError, match=message):
        disparate_impact(accuracies, merge=merge, ratio=ratio)
