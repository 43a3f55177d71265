"""Fit the grid and the threshold of a search to what the prior gives."""

from typing import NamedTuple

import numpy as np

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
    """

    ranges: tuple[tuple[float, float], ...]
    threshold_min: float


def calibrate(config: SearchConfig, sample: Evaluated, *, names: tuple[str, ...]) -> Calibration:
    """Take from a prior sample what the configuration leaves open.

    Args:
        config: Ranges and a threshold that are given here stay as they are.
        sample: Evaluated samples of the prior.
        names: A name per measure, for errors.

    Raises:
        SearchError: A measure hardly differs between samples, so that no range can be found.
    """
    ranges, threshold_min = config.ranges, config.threshold_min
    if ranges is None:
        # float64, or the last bits of a span could get lost in the subtraction.
        measures = sample.measures.numpy().astype(np.float64)
        low, high = np.quantile(measures, _RANGE_QUANTILES, axis=0)
        margin = _RANGE_MARGIN * (high - low)
        for name, lowest, highest in zip(names, low, high, strict=True):
            if highest - lowest <= 1e-6 * max(1.0, abs(lowest), abs(highest)):
                raise SearchError(
                    f"Measure {name!r} is {lowest:.6g} on nearly all of {len(measures)} prior "
                    "samples; measure something that varies, or set search.ranges."
                )
        ranges = tuple(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))
    if threshold_min is None:
        threshold_min = float(np.quantile(sample.objective.numpy(), _THRESHOLD_QUANTILE))
    return Calibration(ranges, threshold_min)
