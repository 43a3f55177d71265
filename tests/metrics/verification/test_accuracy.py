"""Verification against the original code's numbers, a plain loop, and closed forms."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from qdgs_lightning.metrics import VerificationError, verification_accuracy
from tests.metrics.verification.pairs import CASES, Case, embedded_pairs

DATA = Path(__file__).parents[2] / "data" / "verification" / "by_originals.json"
BY_ORIGINALS = json.loads(DATA.read_text())
PAIRS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=12, max_size=60)


def pairs(case: Case) -> tuple[Tensor, Tensor]:
    first, second, same = embedded_pairs(case)
    return torch.from_numpy(np.square(first - second).sum(axis=1)), torch.from_numpy(same)


def both(rows: list[tuple[int, bool]]) -> tuple[Tensor, Tensor]:
    """Return coarse distances of pairs of both kinds."""
    rows = [(1, True), *rows, (9, False)]
    return torch.tensor([row[0] / 3 for row in rows]), torch.tensor([row[1] for row in rows])


def looped(
    distances: Tensor, same: Tensor, grid: list[float] | None
) -> tuple[list[float], list[float]]:
    """Try every threshold on the other folds, one after the other; None for what occurs there."""
    d, s = distances.double().numpy(), same.numpy()
    accuracies, thresholds = [], []
    for test in np.array_split(np.arange(len(d)), 10):
        others = np.setdiff1d(np.arange(len(d)), test)
        steps = sorted({*d[others].tolist(), math.inf}) if grid is None else grid
        right = [int(((d[others] < t) == s[others]).sum()) for t in steps]
        best = steps[int(np.argmax(right))]
        accuracies.append(float(((d[test] < best) == s[test]).mean()))
        thresholds.append(best)
    return accuracies, thresholds


@pytest.mark.parametrize("number", range(len(CASES)))
def test_insightface_s_protocol_gives_its_own_numbers(number: int) -> None:
    result = verification_accuracy(*pairs(CASES[number]))
    expected = BY_ORIGINALS[number]["insightface"]
    assert list(result.fold_accuracies) == expected
    assert result.accuracy == pytest.approx(np.mean(expected), abs=1e-12)
    assert result.std == pytest.approx(np.std(expected), abs=1e-12)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_facex_zoo_s_protocol_gives_its_own_numbers(number: int) -> None:
    result = verification_accuracy(*pairs(CASES[number]), protocol="facexzoo")
    accuracy, error = BY_ORIGINALS[number]["facexzoo"]
    assert result.accuracy == pytest.approx(accuracy, abs=1e-9)
    assert result.standard_error == pytest.approx(error, abs=1e-9)


@settings(max_examples=25)  # a slow loop
@given(PAIRS)
def test_all_thresholds_at_once_equal_one_after_the_other(rows: list[tuple[int, bool]]) -> None:
    distances, same = both(rows)
    with warnings.catch_warnings(action="ignore"):
        result = verification_accuracy(distances, same)
    accuracies, thresholds = looped(distances, same, [i * 0.01 for i in range(400)])
    assert list(result.fold_accuracies) == pytest.approx(accuracies, abs=1e-12)
    assert list(result.fold_thresholds) == pytest.approx(thresholds, abs=1e-12)


@given(PAIRS)
def test_exhaustive_thresholds_are_those_of_the_other_folds(rows: list[tuple[int, bool]]) -> None:
    distances, same = both(rows)
    with warnings.catch_warnings(action="ignore"):
        result = verification_accuracy(distances, same, protocol="exhaustive")
    accuracies, thresholds = looped(distances, same, None)
    assert list(result.fold_thresholds) == thresholds
    assert list(result.fold_accuracies) == pytest.approx(accuracies, abs=1e-12)


@given(PAIRS)
def test_area_under_the_curve_equals_torchmetrics(rows: list[tuple[int, bool]]) -> None:
    distances, same = both(rows)
    with warnings.catch_warnings(action="ignore"):
        result = verification_accuracy(distances, same)
    expected = binary_auroc(1 - distances / 5, same.long())
    assert result.auc == pytest.approx(float(expected), abs=1e-6)


def test_rates_of_two_uniform_distributions() -> None:
    # True pairs lie in [0, 2], others in [1, 3]: rates are equal at 1.5, where both are 1/4.
    n = 20_000
    steps = torch.linspace(0, 2, n, dtype=torch.float64)
    distances = torch.stack([steps, steps + 1], dim=1).flatten()
    same = torch.tensor([True, False]).repeat(n)
    order = torch.randperm(2 * n, generator=torch.Generator().manual_seed(0))
    result = verification_accuracy(distances[order], same[order], false_match_rates=(0.1, 0.01))
    assert result.eer == pytest.approx(0.25, abs=1e-3)
    assert result.auc == pytest.approx(1 - 0.5 * 0.5**2, abs=1e-3)
    assert result.tar[0.1] == pytest.approx(0.6, abs=1e-3)
    assert result.tar[0.01] == pytest.approx(0.51, abs=1e-3)
    assert result.accuracy == pytest.approx(0.75, abs=1e-2)
    assert (result.num_same, result.num_different) == (n, n)


def test_perfect_and_reversed_pairs() -> None:
    same = torch.tensor([True, False]).repeat(1000)
    good = verification_accuracy(torch.where(same, 0.5, 1.5), same)
    assert (good.accuracy, good.std, good.auc, good.eer) == (1.0, 0.0, 1.0, 0.0)
    assert good.tar == {1e-2: 1.0, 1e-3: 1.0}
    bad = verification_accuracy(torch.where(same, 1.5, 0.5), same)
    assert (bad.auc, bad.eer) == (0.0, 1.0)


def test_a_false_match_rate_may_be_used_up() -> None:
    # One of a hundred others lies among four true pairs, and the rest far off.
    distances = torch.cat([torch.tensor([0.3, 0.4, 0.5, 0.6, 0.7]), torch.full((99,), 2.0)])
    same = torch.tensor([True, True, False, True, True] + [False] * 99)
    result = verification_accuracy(
        distances, same, num_folds=2, false_match_rates=(0.01, 0.0199, 0.02)
    )
    assert result.tar == {0.01: 1.0, 0.0199: 1.0, 0.02: 1.0}
    with pytest.warns(UserWarning, match="no false match at all"):
        result = verification_accuracy(
            distances, same, num_folds=2, false_match_rates=(0.0099, 0.0)
        )
    assert result.tar == {0.0099: 0.5, 0.0: 0.5}


def test_rates_that_a_small_set_cannot_show() -> None:
    distances, same = pairs(CASES[0])
    with pytest.warns(UserWarning, match="3000 pairs of two people cannot show .* of 0.0001"):
        verification_accuracy(distances, same, false_match_rates=(1e-4,))


@pytest.mark.parametrize(
    ("distances", "same", "options", "message"),
    [
        ([0.1] * 20, [True, False] * 9, {}, "There are 20 distances and 18 labels"),
        ([0.1, math.nan] * 10, [True, False] * 10, {}, "10 of 20 distances are not finite"),
        ([0.1] * 20, [True] * 20, {}, "All pairs are of one kind"),
        ([0.1] * 4, [True, False] * 2, {}, "4 pairs cannot be cut into 10 folds"),
        ([0.1] * 4, [True, False] * 2, {"protocol": "lfw"}, "give one of insightface, exhaustive"),
    ],
)
def test_pairs_without_an_accuracy(
    distances: list[float], same: list[bool], options: dict[str, str], message: str
) -> None:
    with pytest.raises(VerificationError, match=message):
        verification_accuracy(torch.tensor(distances), torch.tensor(same), **options)  # type: ignore[arg-type]
