"""What samplers hand out: labelled candidates, pools drawn from them, and an honest report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_REASONS = {
    "unlabelled": "in no bin",
    "moved": "judged again, in another bin than in the archive",
    "disagreeing": "in another bin when altered as in quality.agreement",
    "poor": "objective below quality.objective or quality.quantile",
}


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Latents that passed every test of a sampler, from which pools are drawn.

    Attributes:
        latents: Shape ``[n, *latent_shape]``, float32.
        labels: Label along every binned measure, int64, shape ``[n, m]``.
        bins: Joint bin, int64, shape ``[n]``.
        cells: Cell of the archive, int64, shape ``[n]``; 0 where there is no archive.
        evaluated: How many latents were drawn and evaluated to get these.
        dropped: How many of them each test took away, by its name.
        bin_names: Name of every joint bin.
        prompts: For each binned measure its name and prompts, for messages; empty if not known.
    """

    latents: Tensor
    labels: Tensor
    bins: Tensor
    cells: Tensor
    evaluated: int
    dropped: dict[str, int]
    bin_names: tuple[str, ...]
    prompts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.latents)

    def share(self, rank: int, world: int) -> Tensor:
        """Name the rows that belong to one rank alone.

        Args:
            rank: Index of this process.
            world: Number of processes.

        Returns:
            Ascending rows, int64; shares of different ranks have none in common, and hold as
            equal a part of every bin as whole rows allow.
        """
        return self.bins.argsort(stable=True)[rank::world].sort().values


@dataclass(frozen=True, kw_only=True)
class PoolReport:
    """Where a pool comes from and how even, or how near to its quotas, it is.

    Attributes:
        bin_names: Name of every joint bin.
        available: Candidates of every bin.
        drawn: Rows of the pool in every bin.
        evaluated: How many latents were evaluated to get the candidates.
        dropped: How many of them each test took away, by its name.
        distinct: How many different latents the pool holds.
        most_repeated: How often the latent that was drawn most appears.
        effective_size: Kish's effective sample size of the draws, ``(sum c)^2 / sum c^2``.
        wanted: Share of the pool that every bin was to have; None without quotas.
        unmet: Groups that had a quota and no candidate, so that the others got theirs.
        prompts: For each binned measure its name and prompts; empty if not known.
    """

    bin_names: tuple[str, ...]
    available: tuple[int, ...]
    drawn: tuple[int, ...]
    evaluated: int
    dropped: dict[str, int]
    distinct: int
    most_repeated: int
    effective_size: float
    wanted: tuple[float, ...] | None = None
    unmet: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        candidates: Candidates,
        counts: Tensor,
        *,
        wanted: Tensor | None = None,
        unmet: tuple[str, ...] = (),
    ) -> "PoolReport":
        """Report on drawing row i of `candidates` ``counts[i]`` times.

        Args:
            candidates: What was drawn from.
            counts: Int64, shape ``[n]``.
            wanted: Share that every bin was to have, shape ``[bins]``; None without quotas.
            unmet: Groups that had a quota and no candidate.
        """
        places = len(candidates.bin_names)
        drawn = torch.zeros(places, dtype=torch.int64).index_add_(0, candidates.bins, counts)
        return cls(
            bin_names=candidates.bin_names,
            available=tuple(candidates.bins.bincount(minlength=places).tolist()),
            drawn=tuple(drawn.tolist()),
            evaluated=candidates.evaluated,
            dropped=candidates.dropped,
            distinct=int((counts > 0).sum()),
            most_repeated=int(counts.max()),
            effective_size=float(counts.sum() ** 2 / (counts**2).sum()),
            wanted=None if wanted is None else tuple(wanted.tolist()),
            unmet=unmet,
            prompts=candidates.prompts,
        )

    @property
    def empty_bins(self) -> tuple[str, ...]:
        """Names of the bins without a single candidate."""
        return tuple(name for name, n in zip(self.bin_names, self.available, strict=True) if n == 0)

    @property
    def distance(self) -> float:
        """Total variation distance to the quotas, in [0, 1]: the share of draws out of place."""
        total = sum(self.drawn)
        pairs = zip(self.drawn, self.wanted or (), strict=True) if self.wanted else ()
        return sum(abs(drawn / total - wanted) for drawn, wanted in pairs) / 2

    def metrics(self) -> dict[str, float]:
        """Give the numbers that a logger keeps, under ``pool/``."""
        values: dict[str, float] = {
            "pool/evaluated": self.evaluated,
            "pool/distinct": self.distinct,
            "pool/most_repeated": self.most_repeated,
            "pool/effective_size": self.effective_size,
            "pool/empty_bins": len(self.empty_bins),
        }
        for name, available, drawn in zip(self.bin_names, self.available, self.drawn, strict=True):
            key = name.replace(" ", "_")
            values |= {f"pool/available/{key}": available, f"pool/drawn/{key}": drawn}
        if self.wanted is not None:
            values["pool/distance_to_quotas"] = self.distance
        return values | {f"pool/dropped/{why}": n for why, n in self.dropped.items()}

    def __str__(self) -> str:
        draws = f"{sum(self.drawn):,}"
        lines = [
            f"Pool of {draws} draws from {self.distinct:,} different latents, none more than "
            f"{self.most_repeated:,} times (effective size {self.effective_size:,.0f} of {draws}).",
            *map(self._bin, range(len(self.bin_names))),
            f"  {dropped_line(self.dropped, evaluated=self.evaluated)}",
        ]
        if self.wanted is not None:
            unmet = f"; no candidates of {', '.join(self.unmet)}" if self.unmet else ""
            lines.append(
                f"  {self.distance:.1%} of the draws are in another bin than wanted{unmet}"
            )
        return "\n".join(lines)

    def _bin(self, place: int) -> str:
        """Describe the draws of one bin."""
        wanted = "" if self.wanted is None else f", wanted {self.wanted[place]:.1%} of the draws"
        return (
            f"  {self.bin_names[place]}: {self.drawn[place]:,} draws from "
            f"{self.available[place]:,} candidates{wanted}"
        )


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Labelled latents to learn from, in random order.

    Attributes:
        latents: Shape ``[n, *latent_shape]``, float32.
        labels: Label along every binned measure, int64, shape ``[n, m]``.
        report: Where they come from.
    """

    latents: Tensor
    labels: Tensor
    report: PoolReport

    def __len__(self) -> int:
        return len(self.latents)


def dropped_line(dropped: Mapping[str, int], *, evaluated: int) -> str:
    """Describe the latents that are no candidates, and the tests that took them away.

    Args:
        dropped: Number that each test took away, by its name.
        evaluated: Number of latents that were tested.
    """
    reasons = [f"{n:,} {why} ({_REASONS.get(why, why)})" for why, n in dropped.items() if n]
    return f"dropped of {evaluated:,} evaluated latents: {', '.join(reasons) or 'none'}"


def in_measures(prompts: Sequence[str]) -> str:
    """Say in brackets what the measures of some bins are, if it is known."""
    return f" (measures: {'; '.join(prompts)})" if prompts else ""
