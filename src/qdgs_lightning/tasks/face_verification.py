"""All benchmarks of a recogniser together: embeddings in, a report out."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.metrics import (
    GroupVerificationResult,
    VerificationAccuracy,
    VerificationError,
    VerificationResult,
    group_verification,
)
from qdgs_lightning.metrics.verification.accuracy import Protocol as VerificationProtocol
from qdgs_lightning.reporting.face_fairness import fairness_scalars
from qdgs_lightning.reporting.face_report import FaceReport


class FaceRecognitionError(QDGSError):
    """Training or testing of a recogniser that cannot go on."""


class Pairs(Protocol):
    """Pairs of images of a benchmark.

    Attributes:
        pairs: Places of the two images of each, ``[n, 2]``.
        is_same: Whether they are of one person, ``[n]``.
        people: Whom each image shows, ``[images]``; None where it is not known.
    """

    pairs: Tensor
    is_same: Tensor
    people: Tensor | None


class FaceVerification(nn.Module):
    """Keeps a metric for every benchmark, in the order of their loaders.

    Args:
        benchmarks: Pairs of each, by name.
        groups: Benchmarks that are groups of one population, such as those of RFW, by its name.
        merge: Groups to average in addition, by name, wherever all their members are.
        protocol: How accuracies are computed; see `verification_accuracy`.
        num_bootstrap: Replicates for intervals; see `group_verification`.
    """

    def __init__(
        self,
        benchmarks: Mapping[str, Pairs],
        *,
        groups: Mapping[str, Sequence[str]],
        merge: Mapping[str, Sequence[str]],
        protocol: VerificationProtocol,
        num_bootstrap: int,
    ) -> None:
        super().__init__()
        self.benchmarks = dict(benchmarks)
        self.groups, self.merge = dict(groups), dict(merge)
        self.protocol: VerificationProtocol = protocol
        self.num_bootstrap = num_bootstrap
        # A list, since names of benchmarks may hold dots.
        self.metrics = nn.ModuleList(
            VerificationAccuracy(pairs.pairs, pairs.is_same, protocol=protocol)
            for pairs in benchmarks.values()
        )

    def update(self, benchmark: int, embeddings: Tensor, places: Tensor) -> None:
        """Take in embeddings ``[n, d]`` of images at places ``[n]`` of a benchmark."""
        cast(VerificationAccuracy, self.metrics[benchmark]).update(embeddings, places)

    def reset(self) -> None:
        """Forget all embeddings."""
        for _, metric in self._named():
            metric.reset()

    def results(self) -> dict[str, VerificationResult]:
        """Compute the accuracy of every benchmark; collective over ranks.

        Raises:
            FaceRecognitionError: One has none, say because an embedding is not finite.
        """
        results = {}
        for name, metric in self._named():
            try:
                results[name] = metric.compute()
            except VerificationError as error:
                raise FaceRecognitionError(f"{name}: {error}") from error
        return results

    def distances(self) -> dict[str, Tensor]:
        """Return the squared distance of every pair of every benchmark that `results` judged."""
        return {
            name: metric.distances for name, metric in self._named() if metric.distances is not None
        }

    def report(
        self,
        results: Mapping[str, VerificationResult],
        distances: Mapping[str, Tensor],
        *,
        about: Mapping[str, object],
        seed: int,
    ) -> FaceReport:
        """Add the fairness of groups; takes seconds, and no collective call."""
        fairness = {
            name: self._fairness(members, distances, seed=seed)
            for name, members in self.groups.items()
            if len(members) > 1
        }
        about = {"protocol": self.protocol, **about}
        return FaceReport(results=results, fairness=fairness, about=about)

    def fairness(
        self, results: Mapping[str, VerificationResult]
    ) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
        """Take groups out of results, each group at thresholds of its own; costs nothing.

        Returns:
            For each population of two groups or more the accuracy of every group, and those and
            their ratios summed up as `fairness_scalars` does.
        """
        found = {}
        for name, members in self.groups.items():
            if len(members) > 1:
                accuracies = {member: results[member].accuracy for member in members}
                sides = {
                    side: fmean(accuracies[member] for member in merged)
                    for side, merged in (self._merge_of(members) or {}).items()
                }
                found[name] = accuracies, fairness_scalars(accuracies, sides)
        return found

    def _merge_of(self, members: Sequence[str]) -> dict[str, list[str]] | None:
        """Merged groups that are of these, if there are several to compare."""
        merge = {name: list(each) for name, each in self.merge.items() if set(each) <= set(members)}
        return merge if len(merge) > 1 else None

    def _fairness(
        self, members: Sequence[str], distances: Mapping[str, Tensor], *, seed: int
    ) -> GroupVerificationResult:
        """Compare the groups of one population."""
        counts = torch.tensor([len(distances[member]) for member in members])
        return group_verification(
            torch.cat([distances[member] for member in members]),
            torch.cat([self.benchmarks[member].is_same for member in members]),
            torch.arange(len(members)).repeat_interleave(counts),
            names=list(members),
            people=self._people(members),
            merge=self._merge_of(members),
            protocol=self.protocol,
            num_bootstrap=self.num_bootstrap,
            seed=seed,
        )

    def _people(self, members: Sequence[str]) -> Tensor | None:
        """Whom the pairs of some benchmarks show, ``[n, 2]``, if that is known of all of them.

        People of two benchmarks are taken to be different, as those of groups are.
        """
        parts, before = [], 0
        for pairs in (self.benchmarks[member] for member in members):
            if pairs.people is None:
                return None
            parts.append(pairs.people[pairs.pairs] + before)
            before += int(pairs.people.max()) + 1
        return torch.cat(parts)

    def _named(self) -> Iterator[tuple[str, VerificationAccuracy]]:
        """Go through the benchmarks' names and metrics."""
        metrics = (cast(VerificationAccuracy, metric) for metric in self.metrics)
        return zip(self.benchmarks, metrics, strict=True)
