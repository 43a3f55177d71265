"""Bootstrap: how far a number would move with other samples of the same kind."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import binomtest
from torch import Tensor

from qdgs_lightning.errors import QDGSError

CONFIDENCE = 0.95


class BootstrapError(QDGSError):
    """Replicates that cannot be drawn."""


class Estimate(NamedTuple):
    """A number and its interval of 95 % by the percentiles of bootstrap replicates.

    Attributes:
        value: That of the sample itself.
        low: Lower end; NaN without replicates.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: ArrayLike, *, trials: int | None = None) -> "Estimate":
        """Take the first of the values as that of the sample, and the others as replicates.

        Where an end lies between two replicates, the outer one is taken. Replicates that are NaN,
        where the number has no meaning, are left out.

        Args:
            values: Shape ``[1 + replicates]``.
            trials: Where the number is a share, of how many. The interval then holds the exact one
                of Clopper and Pearson: a sample without a single error has replicates without any.
                None, or a share of nothing, has no exact interval.
        """
        first, *_ = array = np.asarray(values, dtype=np.float64)
        replicates = array[1:][~np.isnan(array[1:])]
        if len(replicates) == 0:
            return cls(float(first), np.nan, np.nan)
        tail = (1 - CONFIDENCE) / 2
        low = float(np.quantile(replicates, tail, method="lower"))
        high = float(np.quantile(replicates, 1 - tail, method="higher"))
        if trials and not np.isnan(first):
            exact = binomtest(round(first * trials), trials).proportion_ci(CONFIDENCE)
            low, high = min(low, float(exact.low)), max(high, float(exact.high))
        return cls(float(first), low, high)


def stratified_draws(
    strata: Tensor, *, num_replicates: int, seed: int, batch_size: int
) -> Iterator[Tensor]:
    """Draw replicates of a sample with replacement, each member from its own stratum.

    A replicate has as many members of each stratum as the sample, in the same places. The first
    that is given, alone, is the sample itself. `scipy.stats.bootstrap` draws the same but refuses
    strata of a single member.

    Args:
        strata: Which stratum a member is of, in ascending order, int64, shape ``[n]``.
        num_replicates: How many, besides the sample itself.
        seed: Of the draws; it and the batch size determine them.
        batch_size: How many replicates to give at once.

    Yields:
        Indices of members, int64, shape ``[r, n]``.

    Raises:
        BootstrapError: There are fewer than no replicates.
    """
    if num_replicates < 0:
        raise BootstrapError(
            f"num_bootstrap is {num_replicates}; give 0 for no intervals, or about 1,000."
        )
    yield torch.arange(len(strata))[None]
    counts = strata.bincount()
    sizes, starts = counts[strata], (counts.cumsum(0) - counts)[strata]
    generator = torch.Generator().manual_seed(seed)
    for done in range(0, num_replicates, batch_size):
        shape = (min(batch_size, num_replicates - done), len(strata))
        share = torch.rand(shape, generator=generator, dtype=torch.float64)
        yield starts + (share * sizes).long()
