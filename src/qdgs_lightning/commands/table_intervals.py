"""Numbers of experiments of many runs, with intervals over seeds, and their tables."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student

Result = dict[str, Any]


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


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out, the first one being the head."""
    head, *body = rows
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
