"""What samplers hand out: labelled candidates, pools drawn from them, and an honest report."""

from dataclasses import dataclass

import torch
from torch import Tensor


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
    """

    latents: Tensor
    labels: Tensor
    bins: Tensor
    cells: Tensor
    evaluated: int
    dropped: dict[str, int]
    bin_names: tuple[str, ...]

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
    """Where a pool comes from and how even it is.

    Attributes:
        bin_names: Name of every joint bin.
        available: Candidates of every bin.
        drawn: Rows of the pool in every bin.
        evaluated: How many latents were evaluated to get the candidates.
        dropped: How many of them each test took away, by its name.
        distinct: How many different latents the pool holds.
        most_repeated: How often the latent that was drawn most appears.
        effective_size: Kish's effective sample size of the draws, ``(sum c)^2 / sum c^2``.
    """

    bin_names: tuple[str, ...]
    available: tuple[int, ...]
    drawn: tuple[int, ...]
    evaluated: int
    dropped: dict[str, int]
    distinct: int
    most_repeated: int
    effective_size: float

    @classmethod
    def of(cls, candidates: Candidates, counts: Tensor) -> "PoolReport":
        """Report on drawing row i of `candidates` ``counts[i]`` times."""
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
        )

    @property
    def empty_bins(self) -> tuple[str, ...]:
        """Names of the bins without a single candidate."""
        return tuple(name for name, n in zip(self.bin_names, self.available, strict=True) if n == 0)

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
        return values | {f"pool/dropped/{why}": n for why, n in self.dropped.items()}

    def __str__(self) -> str:
        bins = ", ".join(
            f"{name} {drawn} of {available}"
            for name, drawn, available in zip(
                self.bin_names, self.drawn, self.available, strict=True
            )
        )
        dropped = ", ".join(f"{n} {why}" for why, n in self.dropped.items()) or "none"
        return (
            f"Pool of {sum(self.drawn)} ({self.distinct} distinct, effective size "
            f"{self.effective_size:.0f}, one at most {self.most_repeated} times) from "
            f"{self.evaluated} evaluated latents; drawn of available: {bins}; dropped: {dropped}."
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
