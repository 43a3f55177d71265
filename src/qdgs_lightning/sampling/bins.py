"""Coarse bins over measures, which are the labels of synthetic images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from qdgs_lightning.sampling.errors import SamplingError


@dataclass(frozen=True, kw_only=True)
class MeasureBins:
    """Half-open intervals ``[low, high)`` along one measure; the index of an interval is a label.

    What lies in no interval, or is not a number, has no label and is dropped by samplers: a gap
    between two intervals keeps doubtful images out.

    Attributes:
        measure: Index of the measure.
        intervals: Bounds, ascending and without overlap; ``-inf`` and ``inf`` are allowed.
        names: What each interval stands for, for reports; numbers when left out.

    Raises:
        SamplingError: The intervals are missing, empty, overlapping or unequal to `names`.

    Example:
        >>> shape = MeasureBins(
        ...     measure=1,
        ...     intervals=[(-math.inf, -0.01), (0.0, math.inf)],
        ...     names=["triangle", "square"],
        ... )
        >>> shape.labels(torch.tensor([[0.0, -0.5], [0.0, -0.005], [0.0, 0.0]]))
        tensor([ 0, -1,  1])
    """

    measure: int
    intervals: list[tuple[float, float]]
    names: list[str] | None = None

    def __post_init__(self) -> None:
        ascending = all(low < high for low, high in self.intervals)
        apart = all(a[1] <= b[0] for a, b in pairwise(self.intervals))
        if not (self.intervals and ascending and apart and self.measure >= 0):
            raise SamplingError(
                f"The bins of measure {self.measure} are {self.intervals}: give at least one "
                "interval [low, high] with low < high, in ascending order and without overlap."
            )
        if self.names is not None and len(self.names) != len(self.intervals):
            raise SamplingError(
                f"The bins of measure {self.measure} have {len(self.intervals)} intervals but "
                f"{len(self.names)} names: give one name per interval, or none."
            )

    def check(self, measures: int) -> None:
        """Make sure that there is such a measure.

        Args:
            measures: How many there are.

        Raises:
            SamplingError: There are too few.
        """
        if self.measure >= measures:
            raise SamplingError(
                f"Bins are set for measure {self.measure}, but the guidance has only {measures}: "
                "count from 0 in the sampler's `bins`."
            )

    def labels(self, measures: Tensor) -> Tensor:
        """Label every row.

        Args:
            measures: Shape ``[n, k]``.

        Returns:
            Index of the interval, -1 outside all, int64, shape ``[n]``.

        Raises:
            SamplingError: There is no such measure.
        """
        self.check(measures.shape[1])
        values = measures[:, self.measure]
        labels = torch.full(values.shape, -1, dtype=torch.int64)
        for index, (low, high) in enumerate(self.intervals):
            labels[(low <= values) & (values < high)] = index
        return labels


def class_names(bins: Iterable[MeasureBins]) -> list[list[str]]:
    """Name the intervals of every measure: those without names by measure and number."""
    return [b.names or [f"{b.measure}:{i}" for i in range(len(b.intervals))] for b in bins]


class JointBins:
    """Every combination of the bins along several measures, the last one counting fastest.

    Args:
        bins: Bins along one measure each.

    Attributes:
        names: Name of each joint bin, such as ``"triangle red"``.

    Raises:
        SamplingError: `bins` is empty.
    """

    def __init__(self, bins: Sequence[MeasureBins]) -> None:
        if not bins:
            raise SamplingError("A sampler without bins has no labels: list at least one measure.")
        self.bins = tuple(bins)
        self.names = tuple(" ".join(parts) for parts in product(*class_names(bins)))

    @property
    def intervals(self) -> dict[int, list[tuple[float, float]]]:
        """Intervals of each measure that has bins, by the index of the measure."""
        found: dict[int, list[tuple[float, float]]] = {}
        for bins in self.bins:
            found.setdefault(bins.measure, []).extend(bins.intervals)
        return found

    def check(self, measures: int) -> None:
        """Make sure that every bin is of one of so many measures; see `MeasureBins.check`."""
        for bins in self.bins:
            bins.check(measures)

    def labels(self, measures: Tensor) -> Tensor:
        """Label rows ``[n, k]`` by all bins; int64, ``[n, len(bins)]``, -1 where none fits."""
        return torch.stack([bins.labels(measures) for bins in self.bins], dim=1)

    def index(self, labels: Tensor) -> Tensor:
        """Turn labels ``[n, len(bins)]`` into joint bins ``[n]``, -1 where any label is -1."""
        joint = torch.zeros(len(labels), dtype=torch.int64, device=labels.device)
        for column, bins in enumerate(self.bins):
            joint = joint * len(bins.intervals) + labels[:, column]
        return torch.where((labels < 0).any(1), -1, joint)
