"""Labels and an annotator together: against closed forms, and as often as intervals say."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from qdgs_lightning.audits import LabelledShares

# Truth by word; the last word is "none".
RATES = np.array([[0.85, 0.1, 0.0, 0.05], [0.15, 0.65, 0.1, 0.1], [0.02, 0.13, 0.75, 0.1]])
LAW = np.array([0.6, 0.3, 0.1])


def drawn(random: np.random.Generator, rates: np.ndarray, law: np.ndarray, n: int) -> list[Tensor]:
    """Words and truth of images."""
    truth = random.choice(len(law), n, p=law)
    words = (random.random(n)[:, None] > np.cumsum(rates, axis=1)[truth]).sum(1)
    return [torch.from_numpy(words.clip(max=rates.shape[1] - 1)), torch.from_numpy(truth)]


def together(
    images: Sequence[Tensor], labelled: int, groups: int, units: Tensor | None = None
) -> LabelledShares:
    """Take words and truth together, of which that of the first images is known."""
    words, truth = images
    n = len(words)
    return LabelledShares(
        words,
        torch.where(torch.arange(n) < labelled, truth, -1),
        groups=groups,
        units=torch.arange(n) if units is None else units,
        weights=torch.ones(n, dtype=torch.float64),
    )


def test_shares_are_those_of_double_sampling() -> None:
    """By a plain loop over words, or as PPI++ with the lambda of least squares, which is equal."""
    words, truth = drawn(np.random.default_rng(1), RATES, LAW, 3000)
    found = together([words, truth], 400, 3)
    ours = [share.value for share in found.estimates]
    loop = [
        sum(
            float((words == word).double().mean())
            * float((truth[:400][words[:400] == word] == group).double().mean())
            for word in range(4)
        )
        for group in range(3)
    ]
    assert ours == pytest.approx(loop)
    one_hot = np.eye(4)[words.numpy()]
    labels = np.eye(3)[truth[:400].numpy()]
    tuned = np.linalg.lstsq(one_hot[:400], labels, rcond=None)[0]
    powered = (one_hot @ tuned).mean(0) + (labels - one_hot[:400] @ tuned).mean(0)
    assert ours == pytest.approx(powered.tolist())
    assert sum(ours) == pytest.approx(1)


# Truth by word, of which the last is of no group.
WITH_NONE = np.concatenate([RATES, [[0.1, 0.1, 0.1, 0.7]]])


@pytest.mark.parametrize(
    ("rates", "law", "most"),
    [
        (RATES, LAW, 1.25),
        # What no label has shown may be of no group as well, which is reckoned with.
        (WITH_NONE, np.array([0.4, 0.3, 0.1, 0.2]), 1.45),
    ],
    ids=["all of a group", "a fifth of none"],
)
def test_the_variance_is_that_of_other_samples(
    rates: np.ndarray, law: np.ndarray, most: float
) -> None:
    random, values, variances = np.random.default_rng(2), [], []
    for _ in range(300):
        found = together(drawn(random, rates, law, 1000), 200, 3)
        values.append([share.value for share in found.estimates])
        variances.append([found._variance(group, values[-1][group]) for group in range(3)])
    ratio = np.mean(variances, axis=0) / np.var(values, axis=0, ddof=1)
    assert 0.75 < ratio.min() <= ratio.max() < most


@pytest.mark.parametrize("accuracy", [0.5, 0.8, 0.97])
@pytest.mark.parametrize(("share", "labels"), [(0.5, 50), (0.1, 200), (0.03, 100)])
def test_intervals_hold_the_truth_and_are_never_wider_than_those_of_the_labels(
    share: float, labels: int, accuracy: float
) -> None:
    rates = np.array([[accuracy, 1 - accuracy], [1 - accuracy, accuracy]])
    random, held, ratios = np.random.default_rng(3), 0, []
    for _ in range(150):
        words, truth = drawn(random, rates, np.array([1 - share, share]), 2000)
        found = together([words, truth], labels, 2)
        hits = int(truth[:labels].sum())
        exact = binomtest(hits, labels).proportion_ci(0.95)
        assert found.of_labels[1] == pytest.approx((hits / labels, exact.low, exact.high))
        value, low, high = found.estimates[1]
        assert low - 1e-12 <= value <= high + 1e-12
        held += low <= share <= high
        ratios.append((high - low) / (exact.high - exact.low))
    assert max(ratios) <= 1 + 1e-9
    assert held / 150 > 0.95 - 3 * (0.95 * 0.05 / 150) ** 0.5
    if accuracy == 0.97 and share >= 0.1:
        assert np.mean(ratios) < 0.75


def test_people_of_many_images_and_images_of_no_group() -> None:
    """Sixty people of six hundred are labelled; a quarter of the images show no group."""
    law = np.array([0.4, 0.3, 0.1, 0.2])
    rates = WITH_NONE
    random, held, ratios = np.random.default_rng(4), np.zeros(3), []
    for _ in range(100):
        units = np.repeat(np.arange(600), random.integers(1, 8, 600))
        chances = random.dirichlet(law * 1.5, 600)[units]
        truth = (random.random(len(units))[:, None] > chances.cumsum(1)).sum(1).clip(max=3)
        words = (random.random(len(units))[:, None] > rates.cumsum(1)[truth]).sum(1).clip(max=3)
        images = [torch.from_numpy(words), torch.from_numpy(truth)]
        found = together(images, int((units < 60).sum()), 3, torch.from_numpy(units))
        for group, (both, alone) in enumerate(zip(found.estimates, found.of_labels, strict=True)):
            held[group] += both.low <= law[group] / 0.8 <= both.high
            ratios.append((both.high - both.low) / (alone.high - alone.low))
        assert sum(share.value for share in found.estimates) == pytest.approx(1)
    assert held.min() >= 89  # 95, less three standard errors
    assert max(ratios) <= 1 + 1e-9
    assert np.mean(ratios) < 0.9


def test_an_annotator_that_is_always_right_of_few_labels_is_not_certain() -> None:
    truth = torch.arange(4000) % 4 // 3
    found = together([truth, truth], 40, 2)
    value, low, high = found.estimates[1]
    assert value == pytest.approx(0.25)
    exact = binomtest(1000, 4000).proportion_ci(0.95)
    assert high - low > 2 * (exact.high - exact.low)
    assert high - low < 0.75 * (found.of_labels[1].high - found.of_labels[1].low)
    # Of n right labels of a word, each group is taken to be seen half a time besides.
    unseen = 0.0
    for size, labels in ((0.75, 30), (0.25, 10)):
        wrong = 0.5 / (labels + 1)
        unseen += size**2 * wrong * (1 - wrong) / (labels - 1)
    between = 0.25 * 0.75 / 3999  # of the words, as all images have them
    assert found._variance(1, 0.25) == pytest.approx(between + unseen)


def test_words_without_labels_are_taken_together_with_others() -> None:
    words = torch.tensor([0] * 30 + [1] * 20 + [2] * 3 + [0] * 100 + [1] * 50 + [3] * 40)
    truth = torch.tensor([0] * 25 + [1] * 5 + [1] * 20 + [0, 1, 1])
    truth = torch.cat([truth, torch.full((190,), -1)])
    found = LabelledShares(
        words, truth, groups=2, units=torch.arange(243), weights=torch.ones(243).double()
    )
    # Words 2 and 3 have three labels, too few, and join word 1, of the fewest beside them.
    expected = 130 / 243 * 25 / 30 + 113 / 243 * 1 / 23
    assert found.estimates[0].value == pytest.approx(expected)
    # With two labels of word 3 they have five, and are told apart from word 1.
    words = torch.cat([words, torch.tensor([3, 3])])
    truth = torch.cat([truth, torch.tensor([0, 1])])
    found = LabelledShares(
        words, truth, groups=2, units=torch.arange(245), weights=torch.ones(245).double()
    )
    expected = 130 / 245 * 25 / 30 + 45 / 245 * 2 / 5
    assert found.estimates[0].value == pytest.approx(expected)
    few = together([torch.zeros(9).long(), torch.tensor([0, 1, 1] * 3)], 3, 2)
    assert few.estimates == few.of_labels


def test_no_label_shows_a_group() -> None:
    words, truth = torch.arange(200) % 2, torch.zeros(200).long()
    found = together([words, truth], 50, 2)
    assert found.estimates[1] == pytest.approx((0, 0, 1 - 0.025 ** (1 / 50)))
    nothing = together([words, truth + 2], 50, 2)
    assert np.isnan(nothing.estimates).all()


def test_an_image_of_weight_three_counts_as_three() -> None:
    words, truth = drawn(np.random.default_rng(7), RATES, LAW, 500)
    times = torch.randint(1, 4, (500,), generator=torch.Generator().manual_seed(0))
    known = torch.where(torch.arange(500) < 150, truth, -1)
    weighted = LabelledShares(
        words, known, groups=3, units=torch.arange(500), weights=times.double()
    )
    repeated = LabelledShares(
        words.repeat_interleave(times),
        known.repeat_interleave(times),
        groups=3,
        units=torch.arange(500).repeat_interleave(times),
        weights=torch.ones(int(times.sum())).double(),
    )
    for one, other in zip(weighted.estimates, repeated.estimates, strict=True):
        assert one.value == pytest.approx(other.value)
    for one, other in zip(weighted.of_labels, repeated.of_labels, strict=True):
        assert one.value == pytest.approx(other.value)
    assert sum(share.value for share in weighted.estimates) == pytest.approx(1)


def test_five_labels_tell_the_truth_about_a_word() -> None:
    words = torch.tensor([0] * 50 + [1] * 50)
    truth = torch.full((100,), -1)
    truth[:20], truth[50:55] = 0, 1
    found = together([words, truth], 100, 2)
    assert found.estimates[1].value == pytest.approx(0.5)
    truth[54] = -1  # four: both words are one
    found = together([words, truth], 100, 2)
    assert found.estimates[1].value == pytest.approx(4 / 24)


def test_replicates_without_labels_of_a_word_spread_it_as_all_labels() -> None:
    words = torch.arange(40) // 20
    found = together([words, torch.tensor([0, 1] * 20)], 40, 2)
    # Cells of each word: two groups, none of them, and not known.
    counts = torch.tensor([[3, 1, 4, 8, 0, 0, 0, 16], [0, 0, 0, 9, 0, 0, 0, 9]])
    shares = found.shares(counts)
    assert shares[0].tolist() == pytest.approx([0.75, 0.25])
    assert shares[1].isnan().all()
    counts = torch.tensor([[3, 1, 0, 12, 0, 4, 0, 28]])
    assert found.shares(counts)[0].tolist() == pytest.approx([12 / 48, 36 / 48])
