"""What a sampler must offer: latents to consider, and how to draw evenly from the good ones."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.sampling.augmented import Augmentation, AugmentedGuidance
from qdgs_lightning.sampling.balance import draw_evenly
from qdgs_lightning.sampling.bins import JointBins, MeasureBins, class_names
from qdgs_lightning.sampling.errors import SamplingError
from qdgs_lightning.sampling.pool import Candidates, Pool, PoolReport, dropped_line, in_measures
from qdgs_lightning.sampling.quotas import Quotas
from qdgs_lightning.search.archive import Archive
from qdgs_lightning.search.evaluation import evaluate
from qdgs_lightning.utils.progress import progress
from qdgs_lightning.utils.ranks import rank_and_world_size


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What an image must be like before a sampler trusts its label.

    Attributes:
        objective: Least objective, in the guidance's units, of the image and its alterations.
        quantile: The share of every joint bin, lowest objective first, that is left out; within
            bins, so that a rare bin is not wiped out by a common one.
        agreement: Alterations of the image under which every label must stay the same.

    Raises:
        SamplingError: `quantile` lies outside [0, 1).
    """

    objective: float | None = None
    quantile: float = 0.0
    agreement: list[Augmentation] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 <= self.quantile < 1:
            raise SamplingError(
                f"The sampler's quality.quantile is a share in [0, 1), not {self.quantile}."
            )


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Latents that a sampler considers, before any test.

    Attributes:
        latents: Shape ``[n, *latent_shape]``.
        cells: Cell of the archive, int64, shape ``[n]``.
        bins: Joint bin that each was filed under, int64, shape ``[n]``; None when unknown.
    """

    latents: Tensor
    cells: Tensor
    bins: Tensor | None = None


class Sampler(ABC):
    """A way to choose labelled latents for training.

    First `candidates` evaluates latents, labels them by their measures and drops the doubtful ones;
    then `draw` makes as many pools from them as there are epochs.

    Args:
        bins: Bins along one measure each; their indices are the labels, in this order.
        quality: Tests beside the label.
        max_repeats: How often one latent may appear in one pool.
        batch_size: Rows per evaluation chunk.
        proportions: Share of the pool by the names of the bins, such as ``{dark: 0.6, light: 0.4}``
            or, for bins along several measures, ``{dark old: 0.5, light young: 0.5}``; see
            `Quotas`. None draws evenly. A bin that runs out of repeats leaves the rest to others.
        renormalise: Share out among the others what `proportions` give to bins without candidates,
            which is an error otherwise.

    Attributes:
        needs_archive: Whether candidates come from an archive.

    Raises:
        SamplingError: `bins` is empty, a number is not positive, or `proportions` do not fit.
    """

    needs_archive = False

    def __init__(
        self,
        *,
        bins: list[MeasureBins],
        quality: Quality | None = None,
        max_repeats: int = 8,
        batch_size: int = 64,
        proportions: dict[str, float] | None = None,
        renormalise: bool = False,
    ) -> None:
        for name, value in (("max_repeats", max_repeats), ("batch_size", batch_size)):
            if value < 1:
                raise SamplingError(f"The sampler's {name} must be 1 or more, not {value}.")
        self.joint = JointBins(bins)
        self.quality = quality or Quality()
        self.max_repeats = max_repeats
        self.batch_size = batch_size
        self.set_proportions(proportions, renormalise=renormalise)

    def set_proportions(
        self, proportions: dict[str, float] | None, *, renormalise: bool = False
    ) -> None:
        """Draw by other quotas from now on; the candidates stay what they are.

        Args:
            proportions: As of the class.
            renormalise: As of the class.

        Raises:
            SamplingError: They do not fit the bins.
        """
        classes = class_names(self.joint.bins)
        self.quotas = None if proportions is None else Quotas.of(proportions, classes)
        self.proportions, self.renormalise = proportions, renormalise

    @abstractmethod
    def propose(
        self, generator: Generator, *, archive: Archive | None, random: torch.Generator
    ) -> Proposals:
        """Choose latents to consider.

        Args:
            generator: Maps latents to images; its prior may be sampled.
            archive: The archive of the moment, if there is one.
            random: Source of the randomness, the same on every rank.

        Returns:
            The same latents on every rank.

        Raises:
            SamplingError: The archive that this sampler draws from is missing.
        """

    @abstractmethod
    def strata(self, candidates: Candidates) -> Sequence[Tensor]:
        """Say over what draws are even.

        Args:
            candidates: n candidates.

        Returns:
            Strata of each candidate, coarse to fine, each int64 of shape ``[n]``.
        """

    def describe(self) -> dict[str, object]:
        """Say in JSON types what decides the candidates, besides archive and randomness."""
        return {
            "bins": [asdict(bins) for bins in self.joint.bins],
            "quality": asdict(self.quality),
            "batch_size": self.batch_size,
        }

    def describe_draws(self) -> dict[str, object]:
        """Say in JSON types what decides the draws from given candidates, besides randomness."""
        return {
            "max_repeats": self.max_repeats,
            "proportions": self.proportions,
            "renormalise": self.renormalise,
        }

    def describe_all(self) -> dict[str, object]:
        """Say in JSON types which sampler this is, what it considers and how it draws."""
        return {"class": type(self).__name__, **self.describe(), **self.describe_draws()}

    def candidates(
        self,
        generator: Generator,
        guidance: Guidance,
        *,
        random: torch.Generator,
        archive: Archive | None = None,
    ) -> Candidates:
        """Evaluate, label and test latents.

        Work is divided over the ranks of a distributed run; all of them get the same candidates.

        Args:
            generator: Maps latents to images, prepared.
            guidance: Judges them, prepared.
            random: Source of the randomness, the same on every rank.
            archive: The archive to draw from, where the sampler needs one.

        Returns:
            The latents that passed, with their labels.

        Raises:
            SamplingError: There is no archive, or nothing passed.
        """
        proposals = self.propose(generator, archive=archive, random=random)
        agreement = self.quality.agreement
        judge = AugmentedGuidance(guidance, agreement) if agreement else guidance
        latents, first = proposals.latents, rank_and_world_size()[0] == 0
        with progress("Judging latents", len(latents), brief=True, shown=first) as meter:
            result = evaluate(
                generator, judge, latents, batch_size=self.batch_size, progress=meter.update
            )
        views = result.measures.chunk(1 + len(agreement), dim=1)
        labels = self.joint.labels(views[0])
        bins = self.joint.index(labels)

        tests = [("unlabelled", bins >= 0)]
        if proposals.bins is not None:
            tests.append(("moved", bins == proposals.bins))
        if agreement:
            same = [self.joint.index(self.joint.labels(view)) == bins for view in views[1:]]
            tests.append(("disagreeing", torch.stack(same).all(0)))
        keep = torch.ones(len(bins), dtype=torch.bool)
        dropped = {}
        for why, passed in tests:
            dropped[why] = int((keep & ~passed).sum())
            keep &= passed
        good = keep & self._reaches_floor(result.objective, bins, keep)
        dropped["poor"] = int((keep & ~good).sum())
        if not good.any():
            raise SamplingError(
                "No latent can be used; "
                f"{dropped_line(dropped, evaluated=len(bins))}: widen the sampler's bins, "
                "ask for less quality, or evaluate more."
            )
        return Candidates(
            latents=proposals.latents[good],
            labels=labels[good],
            bins=bins[good],
            cells=proposals.cells[good],
            evaluated=len(bins),
            dropped=dropped,
            bin_names=self.joint.names,
            prompts=measure_prompts(guidance, self.joint.bins),
        )

    def draw(
        self,
        candidates: Candidates,
        n: int,
        *,
        random: torch.Generator,
        rank: int = 0,
        world: int = 1,
    ) -> Pool:
        """Draw one rank's pool from that rank's own share of the candidates.

        Args:
            candidates: What `candidates` returned, the same on every rank.
            n: Size of the pool.
            random: Source of this rank's randomness.
            rank: Index of this process; no two ranks draw the same latent.
            world: Number of processes.

        Returns:
            n labelled latents in random order.

        Raises:
            SamplingError: n draws would repeat a latent too often, a quota is of bins without
                candidates, or quotas contradict each other.
        """
        wanted, unmet = self.wanted(candidates)
        strata = [*self.strata(candidates)]
        if wanted is not None:
            strata.insert(0, candidates.bins)
        rows = candidates.share(rank, world)
        if n > len(rows) * self.max_repeats:
            raise SamplingError(
                f"A pool of {n} needs more than the {len(rows)} candidates that process {rank} "
                f"has, each at most {self.max_repeats} times: evaluate more, or raise max_repeats."
            )
        counts = torch.zeros(len(candidates), dtype=torch.int64)
        counts[rows] = draw_evenly(
            [stratum[rows] for stratum in strata],
            n=n,
            size=len(rows),
            max_repeats=self.max_repeats,
            generator=random,
            weights=wanted,
        )
        if counts.sum() < n:
            raise SamplingError(
                f"A pool of {n} needs more candidates in the bins that `proportions` name: process "
                f"{rank} can draw {int(counts.sum())} times from them; evaluate more, or raise "
                "max_repeats."
            )
        drawn = torch.arange(len(candidates)).repeat_interleave(counts)
        drawn = drawn[torch.randperm(n, generator=random)]
        return Pool(
            latents=candidates.latents[drawn],
            labels=candidates.labels[drawn],
            report=PoolReport.of(candidates, counts, wanted=wanted, unmet=unmet),
        )

    def wanted(self, candidates: Candidates) -> tuple[Tensor | None, tuple[str, ...]]:
        """Say what the quotas come to, with what there is.

        Args:
            candidates: What `candidates` returned.

        Returns:
            Share of every joint bin, float64, or None without quotas; and the groups that cannot
            have theirs.

        Raises:
            SamplingError: A quota is of bins without candidates and `renormalise` is not set, or
                quotas contradict each other.
        """
        if self.quotas is None:
            return None, ()
        shape = [len(names) for names in self.quotas.classes]
        filled = candidates.bins.bincount(minlength=len(self.joint.names)).reshape(shape) > 0
        unmet = self.quotas.unmet(filled)
        if unmet and not self.renormalise:
            raise SamplingError(
                f"The proportions ask for {', '.join(unmet)}{in_measures(candidates.prompts)}, and "
                "there is no candidate: evaluate more, widen the bins, or set `renormalise: true`."
            )
        return self.quotas.shares(filled).flatten(), unmet

    def _reaches_floor(self, objective: Tensor, bins: Tensor, keep: Tensor) -> Tensor:
        """Compare the objective with the floor, the quantile being that of each bin's survivors."""
        passed = torch.ones_like(keep)
        if self.quality.objective is not None:
            passed &= objective >= self.quality.objective
        if self.quality.quantile:
            for joint in range(len(self.joint.names)):
                rows = keep & (bins == joint)
                if not rows.any():
                    continue
                floor = objective[rows].quantile(self.quality.quantile)
                passed[rows] &= objective[rows] >= floor
        return passed


def measure_prompts(guidance: Guidance, bins: Sequence[MeasureBins]) -> tuple[str, ...]:
    """Describe the measure of each of some bins by its name and, where it has them, its ends."""
    names, ends = guidance.measure_names, guidance.measure_ends()
    places = [each.measure for each in bins]
    return tuple(
        names[place] + (f' from "{pair[0]}" to "{pair[1]}"' if (pair := ends[place]) else "")
        for place in places
    )
