"""Fit the grid and the threshold of a search to what the prior gives."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from qdgs_lightning.search.config import SearchConfig, SearchError
from qdgs_lightning.search.evaluation import Evaluated

# Two outliers in a hundred say nothing of the bulk; a quarter of the span on either side leaves
# room for what a search reaches and the prior never shows.
_RANGE_QUANTILES = (0.01, 0.99)
_RANGE_MARGIN = 0.25
# Nearly all of the prior passes, and the rest of the objective's scale is left to improvement:
# from far below, thresholds rise for dozens of hits whatever the objective, and an emitter that
# is ranked by them counts visits.
_THRESHOLD_QUANTILE = 0.05


class Calibration(NamedTuple):
    """What a prior sample decides.

    Attributes:
        ranges: What the grid spans along each measure.
        threshold_min: What an empty cell of an annealed archive demands.
        prior_span: The 1 % and the 99 % quantile of each measure of the sample; None of a search
            that an earlier version began.
    """

    ranges: tuple[tuple[float, float], ...]
    threshold_min: float
    prior_span: tuple[tuple[float, float], ...] | None = None


def calibrate(config: SearchConfig, sample: Evaluated, *, names: tuple[str, ...]) -> Calibration:
    """Take from a prior sample what the configuration leaves open.

    Args:
        config: Ranges and a threshold that are given here stay as they are.
        sample: Evaluated samples of the prior.
        names: A name per measure, for errors.

    Raises:
        SearchError: A measure hardly differs between samples, so that no range can be found, or no
            sample lies within a range that was given.
    """
    ranges, threshold_min = config.ranges, config.threshold_min
    # float64, or the last bits of a span could get lost in the subtraction.
    measures = sample.measures.numpy().astype(np.float64)
    low, high = np.quantile(measures, _RANGE_QUANTILES, axis=0)
    if ranges is None:
        margin = _RANGE_MARGIN * (high - low)
        for name, lowest, highest in zip(names, low, high, strict=True):
            if highest - lowest <= 1e-6 * max(1.0, abs(lowest), abs(highest)):
                raise SearchError(
                    f"Measure {name!r} is {lowest:.6g} on nearly all of {len(measures)} prior "
                    "samples; measure something that varies, or set search.ranges."
                )
        ranges = tuple(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))
    elif missed := missed_ranges(ranges, sample.measures, names=names):
        raise SearchError(
            f"{missed[0]}; set search.ranges to what can be reached, or leave it out."
        )
    if threshold_min is None:
        threshold_min = float(np.quantile(sample.objective.numpy(), _THRESHOLD_QUANTILE))
    return Calibration(ranges, threshold_min, tuple(zip(low.tolist(), high.tolist(), strict=True)))


def missed_ranges(
    ranges: tuple[tuple[float, float], ...], measures: Tensor, *, names: tuple[str, ...]
) -> list[str]:
    """Name the ranges that lie beyond all samples: their images would all share an edge cell.

    A range between samples is none of these, since a search can reach what lies between them.

    Args:
        ranges: Lowest and highest value of each measure that a grid spans.
        measures: Those of samples of the prior, shape ``[n, k]``.
        names: A name per measure.

    Returns:
        A sentence without its full stop for each such range.
    """
    missed = []
    for (low, high), name, values in zip(ranges, names, measures.unbind(1), strict=True):
        if values.max() < low or values.min() > high:
            missed.append(
                f"None of {len(values)} prior samples lies within the range of measure {name!r}, "
                f"{low:g} to {high:g}: they span {float(values.min()):.3g} to "
                f"{float(values.max()):.3g}"
            )
    return missed
