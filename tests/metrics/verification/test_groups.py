"""Verification within groups against plain loops, other libraries and closed forms."""

import math
import warnings
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from torch import Tensor
from torchmetrics.functional.classification import binary_groups_stat_rates

from qdgs_lightning.metrics import (
    BootstrapError,
    DisparateImpactError,
    Estimate,
    GroupVerificationResult,
    VerificationError,
    disparate_impact,
    group_verification,
    verification_accuracy,
)
from qdgs_lightning.metrics.bootstrap import stratified_draws
from qdgs_lightning.metrics.verification.accuracy import Protocol

NAMES = ("a", "b", "c", "d")
SIDES = {"left": ["a", "b"], "right": ["d"]}
NORMAL = NormalDist()
# Of each group, whether its pairs are of one person and how far they are, in thirds.
PAIRS = st.lists(
    st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 12)), min_size=18, max_size=60
)


class Pairs(NamedTuple):
    """Distances, kinds and groups of pairs."""

    distances: Tensor
    same: Tensor
    groups: Tensor


def shifted(
    seed: int, *, sizes: tuple[int, ...] = (600, 600, 600, 600), step: float = 0.1
) -> Pairs:
    """Return pairs of groups that look alike more and more.

    Distances are normal around 1 and 2 with deviation 0.3, less ``step`` for each further group,
    in an order without groups or kinds.
    """
    random = torch.Generator().manual_seed(seed)
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    groups = groups[torch.randperm(len(groups), generator=random)]
    same = torch.rand(len(groups), generator=random) < 0.5
    noise = torch.randn(len(groups), generator=random, dtype=torch.float64)
    return Pairs(2 - same.double() - step * groups + 0.3 * noise, same, groups)


def grouped(
    pairs: Pairs, names: tuple[str, ...] = NAMES, **options: object
) -> GroupVerificationResult:
    options = {"num_bootstrap": 0, "names": names} | options
    with warnings.catch_warnings(action="ignore"):
        return group_verification(*pairs, **options)  # type: ignore[arg-type]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(estimates: dict[str, Estimate]) -> dict[str, float]:
    return {name: estimate.value for name, estimate in estimates.items()}


def loop_threshold(d: NDArray[np.float64], s: NDArray[np.bool_], protocol: Protocol) -> float:
    """Try every threshold; those of facexzoo are cosines."""
    if protocol == "facexzoo":
        cosines = 1 - d / 2
        low, high = cosines.min(), cosines.max()
        steps = low + (high - low) / 1000 * np.arange(1, 1001)
        kinds = [cosines[kind][:, None] > steps for kind in (s, ~s)]
        rated = kinds[0].sum(0) / max(s.sum(), 1) - kinds[1].sum(0) / max((~s).sum(), 1)
    else:
        steps = np.arange(400) * 0.01
        if protocol == "exhaustive":
            steps = np.array(sorted({*d.tolist(), math.inf}))
        rated = ((d[:, None] < steps) == s[:, None]).sum(0)
    return float(steps[int(np.argmax(rated))])


def loop_accuracy(
    d: NDArray[np.float64], s: NDArray[np.bool_], threshold: float, protocol: Protocol
) -> float:
    if protocol != "facexzoo":
        return float(np.mean((d < threshold) == s))
    cosines = 1 - d / 2
    return float(np.mean(np.where(s, cosines > threshold, cosines < threshold)))


def looped(pairs: Pairs, num_groups: int, protocol: Protocol) -> tuple[list[float], list[float]]:
    """Return accuracies at own and at pooled thresholds."""
    d, s, g = pairs.distances.double().numpy(), pairs.same.numpy(), pairs.groups.numpy()
    folds = [np.array_split(np.flatnonzero(g == group), 10) for group in range(num_groups)]
    own, pooled = [], []
    for mine in folds:
        at_own, at_pooled = [], []
        for k, test in enumerate(mine):
            others = np.setdiff1d(np.concatenate(mine), test)
            threshold = loop_threshold(d[others], s[others], protocol)
            at_own.append(loop_accuracy(d[test], s[test], threshold, protocol))
            others = np.setdiff1d(np.arange(len(d)), np.concatenate([f[k] for f in folds]))
            threshold = loop_threshold(d[others], s[others], protocol)
            at_pooled.append(loop_accuracy(d[test], s[test], threshold, protocol))
        own.append(float(np.mean(at_own)))
        pooled.append(float(np.mean(at_pooled)))
    return own, pooled


@pytest.mark.parametrize("protocol", ["insightface", "exhaustive", "facexzoo"])
@settings(max_examples=10)  # a slow loop
@given(rows=PAIRS)
def test_both_kinds_of_thresholds_equal_plain_loops(
    protocol: Protocol, rows: list[tuple[int, bool, int]]
) -> None:
    # Few distances, so that many are equal; groups of different sizes that 10 does not divide.
    rows += [(group, kind, 4 + 2 * group) for group in range(3) for kind in [True, False] * 5]
    pairs = Pairs(
        torch.tensor([row[2] / 3 for row in rows]),
        torch.tensor([row[1] for row in rows]),
        torch.tensor([row[0] for row in rows]),
    )
    result = grouped(pairs, names=NAMES[:3], protocol=protocol)
    own, pooled = looped(pairs, 3, protocol)
    assert list(values(result.own.accuracies).values()) == pytest.approx(own, abs=1e-12)
    assert list(values(result.pooled.accuracies).values()) == pytest.approx(pooled, abs=1e-12)


def test_own_thresholds_give_what_the_pairs_of_a_group_alone_give() -> None:
    pairs = shifted(0, sizes=(503, 1000, 77, 640))
    result = grouped(pairs)
    for index, name in enumerate(NAMES):
        mine = pairs.groups == index
        with warnings.catch_warnings(action="ignore"):
            alone = verification_accuracy(pairs.distances[mine], pairs.same[mine])
        assert result.own.accuracies[name].value == pytest.approx(alone.accuracy, abs=1e-12)
        assert result.own.fold_stds[name] == pytest.approx(alone.std, abs=1e-12)
        assert result.own_thresholds[name] == alone.fold_thresholds
        assert result.num_same[name] == alone.num_same
        assert result.num_different[name] == alone.num_different


def test_own_thresholds_hide_what_pooled_ones_show() -> None:
    # Each group is told apart equally well, but at thresholds that lie 0.3 from each other.
    result = grouped(shifted(0, sizes=(6000, 6000, 6000), step=0.3), names=NAMES[:3])
    best = NORMAL.cdf(0.5 / 0.3)
    off = (NORMAL.cdf(0.2 / 0.3) + NORMAL.cdf(0.8 / 0.3)) / 2
    assert list(values(result.own.accuracies).values()) == pytest.approx([best] * 3, abs=0.01)
    assert list(values(result.pooled.accuracies).values()) == pytest.approx(
        [off, best, off], abs=0.012
    )
    assert result.own.disparate_impact.value > 0.985
    assert result.pooled.disparate_impact.value == pytest.approx(off / best, abs=0.015)
    assert result.pooled.best == "b"
    assert result.pooled.mean.value == pytest.approx((2 * off + best) / 3, abs=0.01)
    found = list(values(result.pooled.accuracies).values())
    assert result.pooled.std.value == pytest.approx(np.std(found, ddof=1))
    assert result.pooled.gap.value == max(found) - min(found)
    errors = result.at_false_match_rate[0.01]
    rates = [NORMAL.cdf((errors.threshold - 2 + 0.3 * group) / 0.3) for group in range(3)]
    assert list(values(errors.false_match).values()) == pytest.approx(rates, abs=0.005)
    rates = [1 - NORMAL.cdf((errors.threshold - 1 + 0.3 * group) / 0.3) for group in range(3)]
    assert list(values(errors.false_non_match).values()) == pytest.approx(rates, abs=0.02)
    assert errors.false_match_ratio.value > 20


@pytest.mark.parametrize("decimals", [1, 8])
@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_error_rates_equal_those_of_other_libraries(rate: float, decimals: int) -> None:
    distances, same, groups = pairs = shifted(1, sizes=(601, 1202, 100, 400))
    pairs = pairs._replace(distances=distances.round(decimals=decimals))
    errors = grouped(pairs, false_match_rates=(rate,)).at_false_match_rate[rate]
    accepted = pairs.distances < errors.threshold
    false, true, _ = roc_curve(same, -pairs.distances, drop_intermediate=False)
    last = np.flatnonzero(false <= rate)[-1]
    assert accepted[~same].double().mean() == pytest.approx(false[last], abs=1e-12)
    assert accepted[same].double().mean() == pytest.approx(true[last], abs=1e-12)
    shares = binary_groups_stat_rates(accepted.long(), same.long(), groups, 4)
    for index, name in enumerate(NAMES):
        tp, fp, tn, fn = shares[f"group_{index}"].tolist()
        assert errors.false_match[name].value == pytest.approx(fp / (fp + tn), abs=1e-6)
        assert errors.false_non_match[name].value == pytest.approx(fn / (fn + tp), abs=1e-6)
    match, non_match = values(errors.false_match), values(errors.false_non_match)
    for rates, gap, ratio in (
        (match, errors.false_match_gap, errors.false_match_ratio),
        (non_match, errors.false_non_match_gap, errors.false_non_match_ratio),
    ):
        high, low = max(rates.values()), min(rates.values())
        assert gap.value == high - low
        assert ratio.value == (high / low if low else math.inf)


@pytest.mark.parametrize("count", [20, 21, 49])
def test_a_rate_of_k_in_n_allows_k_false_matches(count: int) -> None:
    distances = torch.cat([torch.full((20,), 0.5), 1 + torch.rand(count, generator=generator(0))])
    same = torch.arange(20 + count) < 20
    groups = torch.arange(20 + count) % 2
    rates = tuple(k / count for k in range(count + 1))
    result = grouped(Pairs(distances, same, groups), names=NAMES[:2], false_match_rates=rates)
    for allowed, rate in enumerate(rates):
        errors = result.at_false_match_rate[rate]
        assert int((distances[~same] < errors.threshold).sum()) == allowed
        assert sum(
            errors.false_match[name].value * result.num_different[name] for name in NAMES[:2]
        ) == pytest.approx(allowed)


def test_merged_groups_are_means_of_their_members() -> None:
    result = grouped(shifted(2), merge=SIDES)
    for plain, merged in (
        (result.own, result.merged_own),
        (result.pooled, result.merged_pooled),
    ):
        assert merged is not None
        single = values(plain.accuracies)
        assert values(merged.accuracies) == pytest.approx(
            {"left": (single["a"] + single["b"]) / 2, "right": single["d"]}
        )
        assert merged.disparate_impact.value == pytest.approx(disparate_impact(single, merge=SIDES))
        found = [value for value, *_ in merged.accuracies.values()]
        assert merged.mean.value == pytest.approx(np.mean(found))
        assert merged.std.value == pytest.approx(np.std(found, ddof=1))
        assert merged.gap.value == pytest.approx(max(found) - min(found))
        assert {merged.worst, merged.best} == {*SIDES}
    assert grouped(shifted(2)).merged_own is None
    # Folds of a merged group are means of its members' folds, which vary less than these.
    pairs, folds = shifted(2), []
    for index in range(4):
        mine = pairs.groups == index
        with warnings.catch_warnings(action="ignore"):
            alone = verification_accuracy(pairs.distances[mine], pairs.same[mine])
        folds.append(alone.fold_accuracies)
    assert result.merged_own is not None
    assert result.merged_own.fold_stds == pytest.approx(
        {"left": np.mean(folds[:2], axis=0).std(), "right": np.std(folds[3])}
    )


@pytest.mark.parametrize("protocol", ["insightface", "exhaustive", "facexzoo"])
def test_replicates_are_what_the_protocol_gives_for_them(protocol: Protocol) -> None:
    # A fold of every kind has but one pair or copies of it, so that all replicates are the sample.
    copies = torch.arange(10).repeat_interleave(4)
    same = torch.tensor([True, True, False, False]).repeat(10)
    one = torch.where(same, 0.8, 1.1) + copies % 3 * 0.2
    pairs = Pairs(one.repeat(2), same.repeat(2), torch.arange(2).repeat_interleave(40))
    pairs.distances[40:] += 0.2
    result = grouped(pairs, names=NAMES[:2], protocol=protocol, num_bootstrap=40)
    for accuracies in (result.own, result.pooled):
        for value, low, high in (accuracies.mean, accuracies.disparate_impact, accuracies.std):
            assert (low, high) == pytest.approx((value, value))
    errors = result.at_false_match_rate[0.01]
    value, low, high = errors.false_non_match_gap
    assert (low, high) == (value, value)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    # At the pooled threshold of 1.35 groups do not fare as at their own.
    true_own = NORMAL.cdf(0.5 / 0.3)
    true_pooled = [
        (NORMAL.cdf((0.35 + s) / 0.3) + NORMAL.cdf((0.65 - s) / 0.3)) / 2 for s in (0, 0.3)
    ]
    own, pooled, ratio = [], [], []
    for seed in range(40):
        pairs = shifted(seed, sizes=(400, 400), step=0.3)
        result = grouped(pairs, names=NAMES[:2], num_folds=5, num_bootstrap=60)
        for index, name in enumerate(NAMES[:2]):
            _, low, high = result.own.accuracies[name]
            own.append(low <= true_own <= high)
            _, low, high = result.pooled.accuracies[name]
            pooled.append(low <= true_pooled[index] <= high)
        _, low, high = result.pooled.disparate_impact
        ratio.append(low <= 1 <= high)
    assert np.mean(own) > 0.9
    assert np.mean(pooled) > 0.9
    # Which of two equal groups is the worse one is chosen by what was seen, which costs some.
    assert np.mean(ratio) > 0.85


@pytest.mark.parametrize("protocol", ["insightface", "exhaustive", "facexzoo"])
def test_replicates_all_at_once_equal_one_after_the_other(protocol: Protocol) -> None:
    pairs = shifted(8, sizes=(203, 150))
    pairs = pairs._replace(distances=pairs.distances.round(decimals=2))
    options = {"names": NAMES[:2], "protocol": protocol}
    found = grouped(pairs, num_bootstrap=9, seed=5, **options)  # type: ignore[arg-type]
    folds = torch.empty_like(pairs.groups)
    for group in (0, 1):
        for fold, places in enumerate(np.array_split((pairs.groups == group).nonzero(), 10)):
            folds[places] = fold
    strata = (pairs.groups * 10 + folds) * 2 + pairs.same
    order = strata.argsort(stable=True)
    draws = stratified_draws(strata[order], num_replicates=9, seed=5, batch_size=100)
    results = []
    for draw in torch.cat(list(draws)):
        drawn = pairs.distances.clone()
        drawn[order] = pairs.distances[order[draw]]
        results.append(grouped(pairs._replace(distances=drawn), **options))  # type: ignore[arg-type]
    own = [result.own.accuracies["a"].value for result in results]
    assert found.own.accuracies["a"] == Estimate.of(own, trials=203)
    pooled = [result.pooled.accuracies["b"].value for result in results]
    assert found.pooled.accuracies["b"] == Estimate.of(pooled, trials=150)
    ratio = np.array([[r.pooled.accuracies[name].value for name in "ab"] for r in results])
    worst = int(ratio[0].argmin())
    assert found.pooled.disparate_impact == Estimate.of(ratio[:, worst] / ratio[:, 1 - worst])
    rates = [r.at_false_match_rate[0.01].false_non_match["b"].value for r in results]
    assert found.at_false_match_rate[0.01].false_non_match["b"] == Estimate.of(
        rates, trials=found.num_same["b"]
    )
    assert len({*own}) > 3
    assert len({*pooled}) > 3


def test_intervals_are_no_wider_than_pairs_say() -> None:
    result = grouped(shifted(3, sizes=(1000, 1000)), names=NAMES[:2], num_bootstrap=150)
    value, low, high = result.own.accuracies["a"]
    error = math.sqrt(value * (1 - value) / 1000)
    assert 3.4 * error < high - low < 5.5 * error
    value, low, high = result.at_false_match_rate[0.01].false_non_match["a"]
    assert 0 < low < value < high < 1


def test_seeds_change_intervals_and_nothing_else() -> None:
    pairs = shifted(4, sizes=(200, 200))
    names = NAMES[:2]
    state = torch.get_rng_state()
    first, again = (grouped(pairs, names=names, num_bootstrap=20) for _ in range(2))
    assert str(first) == str(again)  # for NaN differs from itself
    assert torch.get_rng_state().equal(state)
    other = grouped(pairs, names=names, num_bootstrap=20, seed=1)
    assert (other.seed, other.num_bootstrap) == (1, 20)
    assert other.own.accuracies != first.own.accuracies
    assert values(other.own.accuracies) == values(first.own.accuracies)
    without = grouped(pairs, names=names)
    assert math.isnan(without.own.accuracies["a"].low)
    assert values(without.pooled.accuracies) == values(first.pooled.accuracies)


def test_no_false_match_at_all() -> None:
    same = torch.tensor([True, False]).repeat(100)
    pairs = Pairs(torch.where(same, 0.5, 1.5), same, torch.arange(200) // 100)
    with pytest.warns(UserWarning, match="100 pairs of two people cannot show .* of 0.001;"):
        result = group_verification(*pairs, names=NAMES[:2], num_bootstrap=20)
    errors = result.at_false_match_rate[0.001]
    assert math.isnan(errors.false_match_ratio.value)
    assert errors.false_match["a"][:2] == (0, 0)
    assert errors.false_match["a"].high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert result.own.accuracies["a"].high == 1
    assert result.pooled.disparate_impact == (1, 1, 1)


def test_one_false_match_can_be_shown_and_less_is_warned_of() -> None:
    same = torch.tensor([True, False]).repeat(100)
    pairs = Pairs(torch.where(same, 0.5, 1.5), same, torch.arange(200) // 100)
    options: dict[str, Any] = {"names": NAMES[:2], "num_bootstrap": 0}
    with warnings.catch_warnings(action="error"):
        group_verification(*pairs, false_match_rates=(0.01, 1), **options)
    with pytest.warns(UserWarning, match="cannot show a false match rate of 0.0099;"):
        group_verification(*pairs, false_match_rates=(0.0099,), **options)


def test_exact_intervals_are_of_as_many_pairs_as_a_share_is_of() -> None:
    # Without any error all replicates are equal, which leaves the closed form of Clopper and
    # Pearson: of n pairs without an error, at most 1 - 0.025^(1/n) are wrong.
    kinds = torch.tensor([True, False, False]).repeat(70)
    groups = torch.tensor([0] * 60 + [1] * 150)
    result = grouped(
        Pairs(torch.where(kinds, 0.5, 1.5), kinds, groups),
        names=NAMES[:2],
        merge={"left": ["a"], "both": ["a", "b"]},
        num_bootstrap=20,
    )

    def most(pairs: int) -> float:
        return 1 - float(0.025 ** (1 / pairs))

    assert result.num_same == {"a": 20, "b": 50}
    assert result.num_different == {"a": 40, "b": 100}
    errors = result.at_false_match_rate[0.01]
    for name, different, same in (("a", 40, 20), ("b", 100, 50)):
        assert errors.false_match[name].high == pytest.approx(most(different))
        assert errors.false_non_match[name].high == pytest.approx(most(same))
        for accuracies in (result.own, result.pooled):
            assert accuracies.accuracies[name].low == pytest.approx(1 - most(different + same))
    for merged in (result.merged_own, result.merged_pooled):
        assert merged is not None
        assert merged.accuracies["left"].low == pytest.approx(1 - most(60))
        assert merged.accuracies["both"].low == pytest.approx(1 - most(210))


def test_replicates_compare_the_groups_that_are_worst_and_best_in_the_sample() -> None:
    # Of equal groups some replicates turn the order round; chosen anew, none could.
    result = grouped(
        shifted(3, sizes=(300, 300), step=0),
        names=NAMES[:2],
        merge={"left": ["b"], "right": ["a"]},
        num_bootstrap=100,
    )
    for accuracies in (result.own, result.pooled, result.merged_own, result.merged_pooled):
        assert accuracies is not None
        assert accuracies.gap.low < 0 <= accuracies.gap.value
        assert accuracies.disparate_impact.value <= 1 < accuracies.disparate_impact.high
    errors = result.at_false_match_rate[0.01]
    for gap, ratio in (
        (errors.false_match_gap, errors.false_match_ratio),
        (errors.false_non_match_gap, errors.false_non_match_ratio),
    ):
        assert gap.low < 0 <= gap.value
        assert ratio.low < 1 <= ratio.value


def test_all_pairs_may_match() -> None:
    errors = grouped(shifted(5), false_match_rates=(1,)).at_false_match_rate[1]
    assert errors.threshold == math.inf
    assert set(values(errors.false_match).values()) == {1.0}
    assert set(values(errors.false_non_match).values()) == {0.0}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"groups": [0] * 20 + [1] * 19}, {}, "40 distances, 40 labels and 39 groups"),
        ({"groups": [0] * 20 + [2] * 20}, {}, r"from 0 to 2, but the names are for 0 to 1 \(a, b"),
        ({"groups": [-1] * 20 + [1] * 20}, {}, "Groups go from -1 to 1"),
        ({}, {"names": ("a", "b", "c")}, "no pairs of c; bring them"),
        ({}, {"names": ("a", "a")}, "groups are called a, a; give two different"),
        ({}, {"names": ()}, "groups are called nothing"),
        ({"same": [True] * 20 + [True, False] * 10}, {}, "Group 'a': All pairs are of one kind"),
        ({"groups": [0] * 36 + [1] * 4}, {}, "Group 'b': 4 pairs cannot be cut into 10 folds"),
        ({"distances": [0.5] * 39 + [math.nan]}, {}, "Group 'b': 1 of 20 distances are not finite"),
        ({}, {"protocol": "lfw"}, "protocol is 'lfw'; give one of insightface"),
        ({}, {"false_match_rates": (2,)}, "rate is 2; give rates"),
        ({"distances": [], "same": [], "groups": []}, {}, "no pairs of a, b"),
    ],
)
def test_pairs_without_an_accuracy(
    change: dict[str, Sequence[float]], options: dict[str, object], message: str
) -> None:
    plain: dict[str, Sequence[float]] = {
        "distances": [0.5, 1.5] * 20,
        "same": [True, False] * 20,
        "groups": [0] * 20 + [1] * 20,
    }
    pairs = Pairs(*(torch.tensor(column) for column in (plain | change).values()))
    with pytest.raises(VerificationError, match=message):
        grouped(pairs, **({"names": ("a", "b")} | options))  # type: ignore[arg-type]


def test_other_arguments_that_make_no_sense() -> None:
    with pytest.raises(DisparateImpactError, match="no group 'z'; the groups are a, b, c, d"):
        grouped(shifted(6), merge={"left": ["a"], "right": ["z"]})
    with pytest.raises(BootstrapError, match="num_bootstrap is -1"):
        grouped(shifted(6), num_bootstrap=-1)


def of_people(
    random: torch.Generator, *, people: int, partners: int, likeness: float
) -> tuple[Pairs, Tensor]:
    """Return pairs of two groups of people, every one with ten images and some partners."""
    parts, members = [], []
    for group in (0, 1):
        names = torch.arange(people)
        others = (names[:, None] + torch.arange(1, 1 + partners)) % people
        different = torch.stack([names.repeat_interleave(partners), others.flatten()], dim=1)
        alone = names.repeat_interleave(10)
        pairs = torch.cat([different, torch.stack([alone, alone], dim=1)])
        pairs = pairs[torch.randperm(len(pairs), generator=random)]
        same = pairs[:, 0] == pairs[:, 1]
        effects = torch.randn(people, generator=random)
        noise = torch.randn(len(pairs), generator=random)
        shared = torch.where(same, effects[pairs[:, 0]], effects[pairs].sum(1) / math.sqrt(2))
        spread = math.sqrt(likeness) * shared + math.sqrt(1 - likeness) * noise
        parts.append(
            Pairs(2 - same.float() + 0.35 * spread, same, torch.full_like(pairs[:, 0], group))
        )
        members.append(pairs + group * people)
    return Pairs(*map(torch.cat, zip(*parts, strict=True))), torch.cat(members)


def width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


def test_intervals_by_people_hold_the_truth_where_those_by_pairs_do_not() -> None:
    """Thirty people, each with all others: pairs of one person resemble each other."""
    threshold = 2 + 0.35 * NORMAL.inv_cdf(0.1)
    held: dict[str, list[bool]] = {"people": [], "pairs": []}
    for seed in range(24):
        pairs, people = of_people(
            torch.Generator().manual_seed(seed), people=30, partners=14, likeness=0.5
        )
        for kind, known in (("people", people), ("pairs", None)):
            result = grouped(
                pairs,
                names=NAMES[:2],
                people=known,
                num_folds=5,
                false_match_rates=(0.1,),
                num_bootstrap=60,
            )
            assert result.resampled == kind
            errors = result.at_false_match_rate[0.1]
            for estimate in errors.false_non_match.values():
                truth = 1 - NORMAL.cdf((threshold - 1) / 0.35)
                held[kind].append(estimate.low <= truth <= estimate.high)
            gap = errors.false_match_gap
            held[kind].append(gap.low <= 0 <= gap.high)
    assert np.mean(held["people"]) > 0.88
    assert np.mean(held["pairs"]) < 0.8


def test_people_of_one_pair_each_are_as_pairs() -> None:
    """Nothing is shared, so that intervals are those of independent pairs, and hardly wider."""
    pairs = shifted(3, sizes=(800, 800), step=0)
    first = torch.arange(1600) * 2
    people = torch.stack([first, torch.where(pairs.same, first, first + 1)], dim=1)
    result = grouped(
        pairs, names=NAMES[:2], people=people, num_bootstrap=200, false_match_rates=(0.1,)
    )
    plain = grouped(pairs, names=NAMES[:2], num_bootstrap=200, false_match_rates=(0.1,))
    assert result.num_people == {
        name: int((2 - same.long()).sum())
        for name, same in ((n, pairs.same[pairs.groups == i]) for i, n in enumerate(NAMES[:2]))
    }
    assert plain.num_people is None
    for kind, found, other in (
        ("own", result.own.accuracies["a"], plain.own.accuracies["a"]),
        ("gap", result.pooled.gap, plain.pooled.gap),
        (
            "match",
            result.at_false_match_rate[0.1].false_non_match["b"],
            plain.at_false_match_rate[0.1].false_non_match["b"],
        ),
    ):
        assert found.value == other.value, kind
        assert width(other) <= width(found) * (1 + 1e-9), kind
        assert width(found) < 1.35 * width(other), kind
    assert str(values(result.own.accuracies)) == str(values(plain.own.accuracies))


def test_few_people_without_an_error_tell_little() -> None:
    """Five people in thousands of pairs that are all judged rightly are five people."""
    same = torch.tensor([True, False]).repeat(500)
    one = torch.arange(1000) % 5
    pairs = Pairs(torch.where(same, 0.5, 1.5), same, torch.arange(1000) // 500)
    people = torch.stack([one, torch.where(same, one, (one + 1) % 5)], dim=1)
    people += pairs.groups[:, None] * 5
    result = grouped(pairs, names=NAMES[:2], people=people, num_bootstrap=20)
    assert result.num_people == {"a": 5, "b": 5}
    assert result.own.accuracies["a"].low == pytest.approx(0.025 ** (1 / 5))
    errors = result.at_false_match_rate[0.01]
    assert errors.false_match["b"].high == pytest.approx(1 - 0.025 ** (1 / 5))


def test_people_that_do_not_fit_the_labels_are_refused() -> None:
    pairs = shifted(6)
    with pytest.raises(VerificationError, match=r"people has the shape \[2400\] for 2400 pairs"):
        grouped(pairs, people=torch.zeros(2400).long())
    wrong = int((~pairs.same).sum())
    with pytest.raises(VerificationError, match=f"{wrong} of 2400 pairs are of one person by"):
        grouped(pairs, people=torch.zeros(2400, 2).long())
