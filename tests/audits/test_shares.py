"""Shares against closed forms, and intervals against how often they hold the truth."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest, entropy
from torch import Tensor

from qdgs_lightning.audits import (
    AnnotationError,
    Annotations,
    Attribute,
    Confusion,
    LabelledShares,
    ShareTable,
    corrected,
    read_confusion,
    share_tables,
)
from qdgs_lightning.sampling.quotas import Quotas

SKIN = Attribute(name="skin", classes=("light", "mixed", "dark"))
AGE = Attribute(name="age", classes=("young", "old"))


def _annotations(
    labels: Tensor,
    *attributes: Attribute,
    units: Tensor | None = None,
    weights: Tensor | None = None,
) -> Annotations:
    labels = labels.reshape(len(labels), -1)
    return Annotations(
        attributes=attributes,
        labels=labels,
        units=torch.arange(len(labels)) if units is None else units,
        weights=torch.ones(len(labels), dtype=torch.float64) if weights is None else weights,
    )


def _repeated(counts: list[int]) -> Tensor:
    """Labels 0, 1, ... as often as said; the last are -1."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return torch.where(labels == len(counts) - 1, -1, labels)


def _values(table: ShareTable) -> list[float]:
    return [share.value for share in table.shares]


def test_the_published_shares_of_ffhq() -> None:
    """73.1, 17.1 and 9.8 % of what is classified; distances by hand and by scipy."""
    annotations = _annotations(_repeated([731, 171, 98, 250]), SKIN)
    targets = Quotas.of({"light": 0.5, "dark": 0.5}, [SKIN.classes])
    (table,) = share_tables(annotations, targets=targets, num_bootstrap=200)
    assert table.groups == SKIN.classes
    shares = [0.731, 0.171, 0.098]
    assert _values(table) == pytest.approx(shares)
    assert (table.images, table.effective_size) == (1000, 1000)
    assert table.unclassified.value == pytest.approx(0.2)
    assert table.effective_groups.value == pytest.approx(math.exp(entropy(shares)))
    assert table.to_uniform.total_variation.value == pytest.approx(0.731 - 1 / 3)
    assert table.to_uniform.kl.value == pytest.approx(entropy(shares, [1 / 3] * 3))
    assert table.to_uniform.kl.value == pytest.approx(math.log(3 / table.effective_groups.value))
    assert table.target == (0.5, 0, 0.5)
    assert table.to_target is not None
    assert table.to_target.total_variation.value == pytest.approx(0.5 - 0.098)
    assert table.to_target.kl.value == math.inf
    for share, count in zip(table.shares, (731, 171, 98), strict=True):
        exact = binomtest(count, 1000).proportion_ci(0.95)
        assert share.low == pytest.approx(exact.low, abs=0.01)
        assert share.high == pytest.approx(exact.high, abs=0.01)


def test_intersections_and_weights_count() -> None:
    labels = torch.tensor([[0, 0], [0, 1], [2, 1], [2, -1], [-1, 0]])
    weights = torch.tensor([3.0, 1, 1, 5, 7], dtype=torch.float64)
    annotations = _annotations(labels, SKIN, AGE, weights=weights)
    skin, age, both = share_tables(annotations, num_bootstrap=0)
    assert _values(skin) == pytest.approx([0.4, 0, 0.6])
    assert _values(age) == pytest.approx([10 / 12, 2 / 12])
    assert both.groups[:2] == ("light young", "light old")
    assert _values(both) == pytest.approx([0.6, 0.2, 0, 0, 0, 0.2])
    assert both.images == 3
    assert both.effective_size == round(25 / 11)
    assert both.unclassified.value == pytest.approx(12 / 17)
    assert math.isnan(both.effective_groups.low)
    assert [table.attributes for table in share_tables(annotations, cross=1)] == [
        ("skin",),
        ("age",),
    ]


def test_images_of_one_identity_count_as_one() -> None:
    """Twenty times the same image of each identity tell no more than one."""
    once = _annotations(_repeated([12, 20, 8, 0]), SKIN)
    units = torch.arange(40).repeat_interleave(20)
    often = _annotations(once.labels.repeat_interleave(20, dim=0), SKIN, units=units)
    (one,), (many,) = (share_tables(each, num_bootstrap=400) for each in (once, often))
    assert many.images == 800
    assert many.effective_size == one.effective_size == 40
    for share, other in zip(many.shares, one.shares, strict=True):
        assert share.value == pytest.approx(other.value)
        assert share.low == pytest.approx(other.low, abs=0.06)
        assert share.high == pytest.approx(other.high, abs=0.06)
        assert share.high - share.low > 0.2


def test_a_group_without_images_may_still_exist() -> None:
    (table,) = share_tables(_annotations(_repeated([30, 30, 0, 0]), SKIN), num_bootstrap=50)
    assert table.shares[2][:2] == (0, 0)
    assert table.shares[2].high == pytest.approx(1 - 0.025 ** (1 / 60))
    units = torch.arange(30).repeat_interleave(2)
    (table,) = share_tables(
        _annotations(_repeated([60, 0, 0, 0]), SKIN, units=units), num_bootstrap=50
    )
    assert table.shares[2].high == pytest.approx(1 - 0.025 ** (1 / 30))


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
def test_intervals_hold_small_shares_nineteen_times_of_twenty(share: float) -> None:
    """Over all that a sample of forty could show: what is rare may not be in it at all."""
    flawless = Confusion(counts=(_counts(torch.eye(2, 3), 500),))
    held = dict.fromkeys(("as said", "corrected", "no group"), 0.0)
    for seen in range(15):
        chance = binom.pmf(seen, 40, share)
        of_group = _annotations(_repeated([40 - seen, seen, 0]), AGE)
        (plain,) = share_tables(of_group, num_bootstrap=40)
        (right,) = share_tables(of_group, confusion=flawless, num_bootstrap=40)
        unclear = _annotations(_repeated([40 - seen, 0, seen]), AGE)
        (doubtful,) = share_tables(unclear, num_bootstrap=40)
        for name, found in (
            ("as said", plain.shares[1]),
            ("corrected", right.shares[1]),
            ("no group", doubtful.unclassified),
        ):
            assert found.value == pytest.approx(seen / 40)
            held[name] += chance * (found.low <= share <= found.high)
    assert min(held.values()) > 0.95


def test_an_annotator_that_errs_knows_no_more_than_one_that_does_not() -> None:
    """No corrected interval is narrower than the exact one of the same share."""
    counts = _counts(torch.tensor([[0.95, 0.05, 0], [0.05, 0.95, 0]]), 200)
    units = torch.arange(30).repeat_interleave(2)
    for dark, of, size in ((4, torch.arange(204), 204), (0, units, 30)):
        annotations = _annotations(_repeated([len(of) - dark, dark, 0]), AGE, units=of)
        (table,) = share_tables(annotations, confusion=Confusion(counts=(counts,)))
        assert table.shares[1].value == 0  # fewer are called so than by mistake
        assert table.shares[1].high > 0.999 * (1 - 0.025 ** (1 / size))


def test_what_is_all_of_no_group_has_no_corrected_shares() -> None:
    counts = torch.tensor([[[0, 50, 0], [0, 0, 50], [50, 0, 0]]])
    annotations = _annotations(_repeated([20, 0, 0]), AGE)
    (table,) = share_tables(annotations, confusion=Confusion(counts=(counts,)), num_bootstrap=20)
    assert all(math.isnan(value) for value in _values(table))


def test_images_of_which_nothing_is_known_count_nowhere() -> None:
    labels = torch.tensor([[0, -2], [-2, 1], [1, 0], [0, -1], [0, 1], [-2, -2]])
    skin, age, both = share_tables(_annotations(labels, SKIN, AGE), num_bootstrap=30)
    assert [table.unknown for table in (skin, age, both)] == [2, 2, 3]
    assert [table.images for table in (skin, age, both)] == [4, 3, 2]
    assert _values(skin) == [0.75, 0.25, 0]
    assert _values(age) == pytest.approx([1 / 3, 2 / 3])
    assert (skin.unclassified.value, age.unclassified.value) == (0, 0.25)
    assert both.unclassified.value == pytest.approx(1 / 3)
    assert (skin.effective_size, age.effective_size) == (4, 3)
    kept = labels[labels[:, 0] >= -1][:, :1]
    (alone,) = share_tables(_annotations(kept, SKIN), num_bootstrap=30)
    assert skin.unclassified.high == alone.unclassified.high == pytest.approx(1 - 0.025 ** (1 / 4))
    # Most replicates of these identities are of unknown images alone.
    few = torch.where(torch.arange(60) < 2, 0, -2)
    units = torch.arange(30).repeat_interleave(2)
    (table,) = share_tables(_annotations(few, SKIN, units=units), num_bootstrap=200)
    assert table.shares[1][:2] == (0, 0)
    assert table.shares[1].high == table.unclassified.high == pytest.approx(0.975)
    (table,) = share_tables(_annotations(torch.full((4,), -2), SKIN), num_bootstrap=20)
    assert table.unknown == 4
    assert math.isnan(table.unclassified.value)


def test_nothing_classified_has_no_shares() -> None:
    (table,) = share_tables(_annotations(torch.full((4,), -1), SKIN), num_bootstrap=20)
    assert table.unclassified.value == 1
    assert all(math.isnan(value) for value in _values(table))


# Truth by word; the last word is "none".
RATES = torch.tensor([[0.85, 0.1, 0.0, 0.05], [0.15, 0.65, 0.1, 0.1], [0.02, 0.13, 0.75, 0.1]])
AGES = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.75, 0.05]])


def _counts(rates: Tensor, n: int) -> Tensor:
    """As many of every class, and none of "none"."""
    counts = (rates.double() * n).round().long()
    return torch.cat([counts, torch.zeros(1, counts.shape[1], dtype=torch.int64)])[None]


def test_known_errors_are_undone_along_attributes_and_across() -> None:
    law = torch.tensor([[0.35, 0.15], [0.1, 0.1], [0.05, 0.25]], dtype=torch.float64)
    said = torch.einsum("ij,ik,jl->kl", law, RATES.double(), AGES.double())
    levels = torch.cartesian_prod(torch.tensor([0, 1, 2, -1]), torch.tensor([0, 1, -1]))
    annotations = _annotations(levels, SKIN, AGE, weights=said.flatten())
    confusion = Confusion(counts=(_counts(RATES, 100), _counts(AGES, 100)))
    skin, age, both = share_tables(annotations, confusion=confusion, num_bootstrap=20)
    assert _values(skin) == pytest.approx(law.sum(1).tolist())
    assert _values(age) == pytest.approx(law.sum(0).tolist())
    assert _values(both) == pytest.approx(law.flatten().tolist())
    among = said[:3].sum(1) / said[:3].sum()
    assert skin.said is not None
    assert [share.value for share in skin.said] == pytest.approx(among.tolist())


def test_corrected_intervals_hold_the_truth_nineteen_times_of_twenty() -> None:
    """The labelled sample is small, so that an interval of the set alone would be too narrow."""
    law = np.array([0.6, 0.3, 0.1])
    random = np.random.default_rng(0)
    trials, held, narrow = 60, np.zeros(3), np.zeros(3)
    for trial in range(trials):
        said = random.multinomial(3000, law @ RATES.double().numpy())
        labels = random.multinomial(1, RATES.double().numpy(), size=(60, 3)).argmax(2)
        truth = np.tile(np.arange(3), 60)
        words = torch.from_numpy(np.where(labels == 3, -1, labels)).reshape(-1, 1)
        confusion = Confusion.of(
            torch.from_numpy(truth)[:, None],
            words,
            units=torch.arange(180),
            attributes=[SKIN],
        )
        annotations = _annotations(_repeated(said.tolist()), SKIN)
        (table,) = share_tables(annotations, confusion=confusion, num_bootstrap=60, seed=trial)
        for group, share in enumerate(table.shares):
            held[group] += share.low <= law[group] <= share.high
            spread = 1.96 * math.sqrt(share.value * (1 - share.value) / 3000)
            narrow[group] += abs(share.value - law[group]) <= spread
    assert (held / trials).min() > 0.86  # 0.95, three standard errors
    assert held.sum() < 3 * trials
    assert narrow[:2].max() / trials < 0.75


def test_replicates_of_errors_vary_as_binomials_do() -> None:
    (rates,) = Confusion(counts=(_counts(RATES, 200),)).replicates(2000, seed=0)
    torch.testing.assert_close(rates[0], RATES.double())
    expected = (RATES * (1 - RATES) / 200).sqrt().double()
    torch.testing.assert_close(rates[1:].std(0), expected, atol=0.002, rtol=0)


def test_labelled_identities_are_drawn_as_a_whole() -> None:
    truth, said = torch.tensor([0, 0, 1, 1, 2, 2, -1, -2]), torch.tensor([0, 1, 1, 1, 2, -1, 0, 0])
    units = torch.tensor([5, 5, 6, 6, 7, 7, 8, 9])
    confusion = Confusion.of(truth[:, None], said[:, None], units=units, attributes=[SKIN])
    assert confusion.counts[0].sum(0).tolist() == [
        [1, 1, 0, 0],
        [0, 2, 0, 0],
        [0, 0, 1, 1],
        [1, 0, 0, 0],
    ]
    (rates,) = confusion.replicates(60, seed=0)
    assert rates.shape == (61, 4, 4)
    drawn = rates[~rates.isnan().flatten(1).any(1)]
    assert 1 < len(drawn) < 61
    assert (drawn == rates[0]).all()  # one identity a class: what is drawn has its rates


def test_a_class_without_known_images_is_refused() -> None:
    truth = torch.tensor([[0], [1], [-2]])
    with pytest.raises(AnnotationError, match="show skin dark, so how often"):
        Confusion.of(truth, truth, units=torch.arange(3), attributes=[SKIN])


def test_errors_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    rows = {"young": {"young": 90, "old": 5, "none": 5}, "old": {"young": 20, "old": 80}}
    path.write_text(json.dumps({"age": rows, "other": {}}))
    assert read_confusion(path, [AGE]).counts[0].tolist() == [[[90, 5, 5], [20, 80, 0], [0, 0, 0]]]
    for content, complaint in (
        ("{", "cannot be read"),
        ("[]", "no counts of 'age'"),
        ('{"age": {"yung": {}}}', None),
        ('{"age": {"yung": {"old": 1}}}', r"'yung', which is no class of age \(did you mean 'y"),
        ('{"age": {"old": {"old": 0.5}}}', "0.5 for 'old' called 'old'"),
        ('{"age": {"old": {"old": 5}}}', "show age young"),
    ):
        path.write_text(content)
        with pytest.raises(AnnotationError, match=complaint):
            read_confusion(path, [AGE])


def test_correction_takes_words_that_are_no_class() -> None:
    law = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    true = corrected(law @ RATES.double(), _counts(RATES, 100)[0, :3])
    torch.testing.assert_close(true, law)


def test_labels_of_some_images_are_taken_with_units_and_weights_of_all() -> None:
    """Against `LabelledShares` of each attribute, whose words are labels with "none" last."""
    random = torch.Generator().manual_seed(0)
    labels = torch.stack(
        [
            torch.randint(-1, 3, (400,), generator=random),
            torch.randint(-1, 2, (400,), generator=random),
        ],
        dim=1,
    )
    flipped = torch.rand(400, 2, generator=random) < 0.2
    truth = torch.where(flipped, 0, labels)
    truth[150:] = -2
    units = torch.arange(400) // 4
    weights = torch.randint(1, 5, (400,), generator=random).double()
    tables = share_tables(
        _annotations(labels, SKIN, AGE, units=units, weights=weights), truth=truth, num_bootstrap=30
    )
    for place, table in enumerate(tables[:2]):
        groups = len(table.groups)
        known = truth[:, place]
        expected = LabelledShares(
            labels[:, place] % (groups + 1),
            torch.where(known == -2, -1, known % (groups + 1)),
            groups=groups,
            units=units,
            weights=weights,
        )
        assert table.shares == expected.estimates
        assert table.of_labels == expected.of_labels
        assert table.labelled == 150
        assert table.said is not None
        of_group = labels[:, place] >= 0
        for group, said in enumerate(table.said):
            here = weights[labels[:, place] == group].sum() / weights[of_group].sum()
            assert said.value == pytest.approx(float(here))
    both = tables[2]
    joint = torch.where((truth >= 0).all(1), truth[:, 0] * 2 + truth[:, 1], -1)[:150]
    assert both.of_labels is not None
    for group, alone in enumerate(both.of_labels):
        weight = weights[:150]
        expected_share = weight[joint == group].sum() / weight[joint >= 0].sum()
        assert alone.value == pytest.approx(float(expected_share))


def test_a_table_whose_attributes_have_no_label_together_says_so() -> None:
    labels = torch.zeros(20, 2, dtype=torch.int64)
    truth = torch.full((20, 2), -2)
    truth[:8, 0], truth[8:, 1] = 0, 1
    annotations = _annotations(labels, SKIN, AGE)
    with pytest.raises(
        AnnotationError, match=r"true label of skin and age: .* or set `cross` to 1"
    ):
        share_tables(annotations, truth=truth, num_bootstrap=5)
    assert len(share_tables(annotations, truth=truth, cross=1, num_bootstrap=5)) == 2
    truth[:, 1] = -2
    with pytest.raises(AnnotationError, match=r"true label of age: fill these columns for some im"):
        share_tables(annotations, truth=truth, cross=1, num_bootstrap=5)
