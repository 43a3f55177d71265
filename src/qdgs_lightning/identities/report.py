"""What is said of identities: the table to draw from, and where it comes from."""

import math
from dataclasses import dataclass

from torch import Tensor

from qdgs_lightning.sampling.pool import dropped_line, in_measures


@dataclass(frozen=True, kw_only=True, eq=False)
class IdentityTable:
    """Latents of the identities that are in use, a row for each latent.

    Attributes:
        latents: Shape ``[n, *latent_shape]``, float32.
        classes: Class of each, int64, shape ``[n]``; rows of one class are one identity.
        bins: Coarse bin of each, int64, shape ``[n]``.
        bin_names: Name of every bin.
    """

    latents: Tensor
    classes: Tensor
    bins: Tensor
    bin_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, kw_only=True)
class IdentityReport:
    """Where identities come from, and what has become of earlier ones.

    Attributes:
        bin_names: Name of every bin.
        available: Candidates of every bin.
        identities: Identities in use of every bin.
        wanted: How many were asked for, over all bins.
        new: How many of those in use have just been made.
        retired: How many earlier ones are no longer in use.
        held_over: How many are still in use although latents of theirs have been displaced, since
            no class was free for another.
        free_slots: Classes that no identity has had yet.
        left_out: Candidates that did not fill an identity.
        evaluated: How many latents were evaluated to get the candidates.
        dropped: How many of them each test of the sampler took away, by its name.
        smallest: Latents of the identity in use that has fewest.
        largest: Of the one that has most.
        shares: Share of the identities that every bin was to have; None as the candidates are.
        prompts: For each binned measure its name and prompts; empty if not known.
        spread: Mean distance between two latents of one identity; NaN where there are no two.
    """

    bin_names: tuple[str, ...]
    available: tuple[int, ...]
    identities: tuple[int, ...]
    wanted: int
    new: int
    retired: int
    held_over: int
    free_slots: int
    left_out: int
    evaluated: int
    dropped: dict[str, int]
    smallest: int
    largest: int
    spread: float
    shares: tuple[float, ...] | None = None
    prompts: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many identities are in use."""
        return sum(self.identities)

    @property
    def empty_bins(self) -> tuple[str, ...]:
        """Names of the bins without an identity."""
        pairs = zip(self.bin_names, self.identities, strict=True)
        return tuple(name for name, n in pairs if n == 0)

    @property
    def distance(self) -> float:
        """Total variation distance to the shares, in [0, 1]: the share of identities out of place.

        NaN where there are no shares or no identities.
        """
        if self.shares is None or not self.total:
            return math.nan
        pairs = zip(self.identities, self.shares, strict=True)
        return sum(abs(n / self.total - share) for n, share in pairs) / 2

    def shortages(self) -> dict[str, str]:
        """Say what is missing of bins, identities and slots, a sentence each; if anything."""
        found = {}
        if bins := self._short_bins():
            found["bins"] = bins
        if self.total < self.wanted:
            found["identities"] = (
                f"There are latents for {self.total} identities of {self.wanted}: search longer or "
                "evaluate more, widen the sampler's bins, ask for less quality, or lower "
                "`data.init_args.identities`."
            )
        if self.held_over:
            found["slots"] = (
                f"No class is free for new identities any more, so that {self.held_over} go on "
                "with latents that have left the archive: raise `data.init_args.slots` for a run "
                "with as many refreshes."
            )
        return found

    def metrics(self) -> dict[str, float]:
        """Give the numbers that a logger keeps, under ``pool/``."""
        values: dict[str, float] = {
            "pool/evaluated": self.evaluated,
            "pool/identities": self.total,
            "pool/new": self.new,
            "pool/retired": self.retired,
            "pool/held_over": self.held_over,
            "pool/free_slots": self.free_slots,
            "pool/left_out": self.left_out,
            "pool/empty_bins": len(self.empty_bins),
        }
        if not math.isnan(self.spread):
            values["pool/spread"] = self.spread
        if not math.isnan(self.distance):
            values["pool/distance_to_quotas"] = self.distance
        places = zip(self.bin_names, self.available, self.identities, strict=True)
        for name, available, identities in places:
            key = name.replace(" ", "_")
            values |= {f"pool/available/{key}": available, f"pool/identities/{key}": identities}
        return values | {f"pool/dropped/{why}": n for why, n in self.dropped.items()}

    def __str__(self) -> str:
        size = (
            f"{self.smallest}"
            if self.smallest == self.largest
            else f"{self.smallest} to {self.largest}"
        )
        held = f", {self.held_over:,} held over" if self.held_over else ""
        places = zip(self.bin_names, self.identities, self.available, strict=True)
        return "\n".join(
            [
                f"Pool of {self.total:,} identities of {size} latents each ({self.new:,} new, "
                f"{self.retired:,} retired{held}; {self.free_slots:,} classes are free).",
                *(f"  {name}: {n:,} identities from {of:,} candidates" for name, n, of in places),
                f"  {self.left_out:,} candidates fill no identity",
                f"  {dropped_line(self.dropped, evaluated=self.evaluated)}",
            ]
        )

    def _short_bins(self) -> str:
        """Say which bins are empty or have too few, beyond rounding, and which have their part."""
        shares = self.shares or [n / max(1, self.total) for n in self.identities]
        few, more = [], []
        for name, n, share in zip(self.bin_names, self.identities, shares, strict=True):
            wanted = share * self.total
            counts = f"{name} ({n} of {wanted:.0f})"
            if 0 < n < wanted - 1:
                few.append(counts)
            elif n > wanted + 1:
                more.append(counts)
        lacking = [f"no identities of {', '.join(self.empty_bins)}"] if self.empty_bins else []
        if few:
            kept = " or earlier identities stay in use" if self.new < self.total else ""
            what = "" if lacking else "identities "
            lacking.append(f"too few {what}of {', '.join(few)}, as latents are too few{kept}")
        if not lacking:
            return ""
        others = len(self.bin_names) - len(self.empty_bins) - len(few)
        to = "all others" if 1 < len(more) == others else ", ".join(more)
        rest = f"; their part went to {to}" if more else ""
        return f"There are {' and '.join(lacking)}{in_measures(self.prompts)}{rest}."
