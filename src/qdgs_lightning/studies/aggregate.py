"""Numbers of experiments of many runs, with intervals over seeds, and their tables."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student

Result = dict[str, Any]
Numbers = Callable[[Result], Mapping[str, float]]
"""Picks shares in [0, 1] out of a run, by the row of the table that they go to."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % t-interval.

    Attributes:
        mean: Mean of the values.
        half_width: Half the width of the interval; NaN for a single value.
        size: Number of values.
    """

    mean: float
    half_width: float
    size: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Summarise at least one value, from independent seeds."""
        n = len(values)
        mean = math.fsum(values) / n
        if n == 1:
            return cls(mean=mean, half_width=math.nan, size=1)
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
        factor = float(student.ppf(0.975, n - 1))
        return cls(mean=mean, half_width=factor * math.sqrt(variance / n), size=n)

    def __str__(self) -> str:
        if math.isnan(self.half_width):
            return f"{100 * self.mean:.1f}"
        return f"{100 * self.mean:.1f} ± {100 * self.half_width:.1f}"


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Read the runs that are finished, of those named."""
    return [json.loads(path.read_text()) for path in paths if path.is_file()]


def opening(results: Sequence[Result], *, seeds: str) -> str:
    """Begin a page: how many runs there are, and what its numbers mean.

    Args:
        results: Finished runs.
        seeds: What to call their seeds where there are several.
    """
    told = (
        f"{seeds}. Every number is a percentage: the mean over seeds with its 95 % t-interval."
        if _has_intervals(results)
        else "one seed, and thus no intervals. Every number is a percentage."
    )
    return f"{len(results)} runs, {told}"


def unit(results: Sequence[Result]) -> str:
    """Say in short what the numbers of a table mean."""
    return "%, mean over seeds ± 95 % interval" if _has_intervals(results) else "%, one seed"


def rows_of(results: Sequence[Result], numbers: Numbers, *, corner: str) -> list[list[str]]:
    """Tabulate numbers: a column for each arm, and rows as `numbers` names them.

    Args:
        results: Finished runs; rows and columns are in the order in which they have them.
        numbers: Of a run.
        corner: Head of the first column.

    Returns:
        Rows of text, percentages with intervals over seeds, the first row being the head.
    """
    arms = list(dict.fromkeys(result["arm"] for result in results))
    return [
        [corner, *arms],
        *(
            [row, *(_told(of_arms.get(arm, {}).values()) for arm in arms)]
            for row, of_arms in _by_row(results, numbers).items()
        ),
    ]


def differences(
    results: Sequence[Result], numbers: Numbers, *, corner: str, arm: str, others: Sequence[str]
) -> list[list[str]]:
    """Tabulate what an arm gains over others in points, paired by seed; else as `rows_of` does."""
    rows = [[corner, *(f"{arm} - {other}" for other in others)]]
    for row, of_arms in _by_row(results, numbers).items():
        if arm not in of_arms:
            continue
        mine = of_arms[arm]
        gains = (
            [mine[seed] - value for seed, value in of_arms.get(other, {}).items() if seed in mine]
            for other in others
        )
        rows.append([row, *map(_told, gains)])
    return rows


def _by_row(results: Sequence[Result], numbers: Numbers) -> dict[str, dict[str, dict[int, float]]]:
    """Sort numbers by row, arm and seed."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for result in results:
        for row, value in numbers(result).items():
            values.setdefault(row, {}).setdefault(result["arm"], {})[result["seed"]] = value
    return values


def _told(values: Iterable[float]) -> str:
    """Write values of independent seeds in a cell, which is empty if there are none."""
    listed = list(values)
    return str(Interval.of(listed)) if listed else ""


def _has_intervals(results: Sequence[Result]) -> bool:
    """Whether runs have several seeds."""
    return len({result["seed"] for result in results}) > 1
