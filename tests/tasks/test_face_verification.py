"""Populations of groups of several sizes, each compared with its own and merged with its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from qdgs_lightning.metrics import disparate_impact, verification_accuracy
from qdgs_lightning.tasks.face_verification import FaceRecognitionError, FaceVerification

SIZES = {"lfw": 40, "a": 20, "b": 30, "c": 50, "young": 20, "old": 24}
GROUPS = {"race": ["a", "b", "c"], "age": ["young", "old"], "alone": ["lfw"]}
MERGE = {
    "dark": ["b", "a"],
    "light": ["c"],
    "junior": ["young"],
    "senior": ["old"],
    "across": ["a", "old"],
}


@dataclass
class Pairs:
    """Pairs of neighbouring images, of one person in turns."""

    pairs: Tensor
    is_same: Tensor
    people: Tensor | None = None


def people(n: int) -> Tensor:
    """Whom the images of n pairs show: half as many as pairs, each in two pairs of two."""
    pairs = torch.arange(n)
    first = pairs // 2
    return torch.stack(
        [first, torch.where(pairs % 2 == 0, first, (first + 1) % (n // 2))], 1
    ).flatten()


def filled(
    *, known: Sequence[str] = ()
) -> tuple[FaceVerification, dict[str, float], dict[str, Tensor]]:
    """Return what has seen noisy embeddings, accuracies by hand, and distances."""
    benchmarks = {
        name: Pairs(
            torch.arange(2 * n).view(n, 2),
            torch.arange(n) % 2 == 0,
            people(n) if name in known else None,
        )
        for name, n in SIZES.items()
    }
    verification = FaceVerification(
        benchmarks, groups=GROUPS, merge=MERGE, protocol="insightface", num_bootstrap=0
    )
    random = torch.Generator().manual_seed(0)
    accuracies, distances = {}, {}
    for number, (name, pairs) in enumerate(benchmarks.items()):
        first = F.normalize(torch.randn(len(pairs.pairs), 8, generator=random))
        near = first + 0.5 * torch.randn(first.shape, generator=random)
        second = torch.where(
            pairs.is_same[:, None], near, torch.randn(first.shape, generator=random)
        )
        second = F.normalize(second)
        verification.update(
            number, torch.stack([first, second], dim=1).flatten(0, 1), pairs.pairs.flatten()
        )
        distances[name] = (first - second).square().sum(dim=1)
        accuracies[name] = verification_accuracy(
            distances[name], pairs.is_same, false_match_rates=()
        ).accuracy
    return verification, accuracies, distances


def mean(accuracies: dict[str, float], members: Sequence[str]) -> float:
    return sum(accuracies[member] for member in members) / len(members)


@pytest.mark.filterwarnings("ignore:.*cannot show")
def test_groups_are_merged_within_their_population() -> None:
    verification, accuracies, distances = filled()
    results = verification.results()
    assert {name: result.accuracy for name, result in results.items()} == pytest.approx(accuracies)
    found = verification.fairness(results)
    assert set(found) == {"race", "age"}
    sides = {"race": ("dark", "light"), "age": ("junior", "senior")}
    report = verification.report(results, verification.distances(), about={}, seed=0)
    assert set(report.fairness) == {"race", "age"}
    for name, merged in sides.items():
        members = GROUPS[name]
        own, scalars = found[name]
        assert own == pytest.approx({member: accuracies[member] for member in members})
        expected = {
            "mean": mean(accuracies, members),
            "worst": min(accuracies[member] for member in members),
            "disparate_impact": disparate_impact(own),
            **{side: mean(accuracies, MERGE[side]) for side in merged},
        }
        expected["_to_".join(merged)] = expected[merged[0]] / expected[merged[1]]
        assert scalars == pytest.approx(expected)
        # Groups keep their own pairs where all are judged together.
        judged = report.fairness[name]
        assert judged.num_same == {member: SIZES[member] // 2 for member in members}
        assert judged.merged_own is not None
        for member in members:
            assert judged.own.accuracies[member].value == pytest.approx(accuracies[member])
        for side in merged:
            assert judged.merged_own.accuracies[side].value == pytest.approx(expected[side])
    for name, own_distances in verification.distances().items():
        torch.testing.assert_close(own_distances, distances[name])


@pytest.mark.filterwarnings("ignore:.*cannot show")
def test_people_of_two_groups_are_different_people() -> None:
    verification, _, _ = filled(known=["a", "b", "c", "young"])
    report = verification.report(verification.results(), verification.distances(), about={}, seed=0)
    assert report.fairness["race"].num_people == {"a": 10, "b": 15, "c": 25}
    assert report.fairness["age"].num_people is None  # known of one group alone


def test_embeddings_are_forgotten() -> None:
    verification, _, _ = filled()
    verification.reset()
    with pytest.raises(FaceRecognitionError, match="lfw: "):
        verification.results()
