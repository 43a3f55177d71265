"""What a test of a recogniser tells: tables as in papers, files and numbers for loggers."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from qdgs_lightning.figures import group_bars
from qdgs_lightning.files import replacing, strict_json
from qdgs_lightning.metrics import GroupVerificationResult, VerificationResult
from qdgs_lightning.metrics.bootstrap import Estimate
from qdgs_lightning.tasks.face_fairness import fairness_scalars, mean_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {
    "lfw": "LFW",
    "cfp_fp": "CFP-FP",
    "cplfw": "CPLFW",
    "calfw": "CALFW",
    "agedb_30": "AgeDB-30",
}
_COLUMNS = ("accuracy", "std", "standard_error", "auc", "eer", "num_same", "num_different")


@dataclass(frozen=True, kw_only=True)
class FaceReport:
    """Accuracies of benchmarks, and fairness between the groups that some of them are.

    Attributes:
        results: Of every benchmark, by name.
        fairness: Of every set of groups, by name; groups are called as the benchmarks are.
        about: What the numbers depend on: protocol, versions, seed, checkpoint and so on.
    """

    results: Mapping[str, VerificationResult]
    fairness: Mapping[str, GroupVerificationResult]
    about: Mapping[str, object]

    @property
    def ungrouped(self) -> dict[str, VerificationResult]:
        """Those of the benchmarks that are no groups."""
        grouped = {name for found in self.fairness.values() for name in found.num_same}
        return {name: result for name, result in self.results.items() if name not in grouped}

    @property
    def mean(self) -> float:
        """Mean accuracy; see `mean_accuracy`."""
        accuracies = {name: result.accuracy for name, result in self.results.items()}
        return mean_accuracy(accuracies, [found.num_same for found in self.fairness.values()])

    def scalars(self) -> dict[str, float]:
        """Give numbers in [0, 1] for loggers, such as ``lfw``, ``mean`` and ``rfw/own/worst``."""
        values = {name: result.accuracy for name, result in self.results.items()}
        values["mean"] = self.mean
        for name, found in self.fairness.items():
            for kind in ("own", "pooled"):
                groups, merged = getattr(found, kind), getattr(found, f"merged_{kind}")
                scalars = fairness_scalars(
                    _values(groups.accuracies), {} if merged is None else _values(merged.accuracies)
                )
                values |= {f"{name}/{kind}/{key}": value for key, value in scalars.items()}
        return values

    def bars(self) -> Iterator[tuple[str, "Figure"]]:
        """Draw the accuracies of each set of groups, at both kinds of thresholds, with its name."""
        for name, found in self.fairness.items():
            arms = {"own thresholds": found.own, "one threshold": found.pooled}
            accuracies = {
                arm: {
                    group.removeprefix(f"{name}_"): value
                    for group, value in _values(groups.accuracies).items()
                }
                for arm, groups in arms.items()
            }
            yield name, group_bars(accuracies, chance=0.5)

    def tables(self) -> list[Table]:
        """Lay out percentages: a table of benchmarks, and one for each set of groups."""
        title = f"Accuracy, % (protocol {self.about['protocol']})"
        plain = Table(title=title, min_width=len(title))
        shown = self.ungrouped
        for name in shown:
            plain.add_column(_TITLES.get(name, name), justify="right")
        plain.add_column("mean", justify="right")
        cells = [f"{_percent(r.accuracy)} ± {_percent(r.std)}" for r in shown.values()]
        plain.add_row(*cells, _percent(self.mean))
        return [*([plain] if shown else []), *map(self._group_table, self.fairness)]

    def write(self, folder: Path) -> list[Path]:
        """Keep everything in ``verification.json``, and a line for each benchmark in ``.csv``.

        Raises:
            OSError: The folder cannot be written.
        """
        whole, lines = folder / "verification.json", folder / "verification.csv"
        content = {
            **self.about,
            "mean": self.mean,
            "benchmarks": self.results,
            "groups": self.fairness,
        }
        with replacing(whole) as path:
            path.write_text(json.dumps(strict_json(content), indent=2) + "\n")
        with replacing(lines) as path, path.open("w", newline="") as file:
            rates = sorted({rate for r in self.results.values() for rate in r.tar}, reverse=True)
            writer = csv.writer(file)
            writer.writerow(["benchmark", *_COLUMNS, *(f"tar@fmr={rate:g}" for rate in rates)])
            for name, result in self.results.items():
                row = [getattr(result, column) for column in _COLUMNS]
                writer.writerow([name, *row, *(result.tar.get(rate, "") for rate in rates)])
        return [whole, lines]

    def _group_table(self, name: str) -> Table:
        """Lay out one set of groups: thresholds of their own, one for all, and error rates."""
        found = self.fairness[name]
        table = Table(
            "",
            title=f"{name}, % (intervals of 95 % by {found.num_bootstrap} bootstrap replicates)",
        )
        for group in found.num_same:
            table.add_column(group.removeprefix(f"{name}_"), justify="right")
        for column in ("mean", "std", "worst / best"):
            table.add_column(column, justify="right")
        for title, groups, merged in (
            ("own thresholds", found.own, found.merged_own),
            ("one threshold", found.pooled, found.merged_pooled),
        ):
            accuracies = map(_interval, groups.accuracies.values())
            spread = (groups.mean, groups.std, groups.disparate_impact)
            table.add_row(title, *accuracies, *map(_interval, spread))
            if merged is None:
                continue
            gaps = [""] * len(found.num_same)
            for side, estimate in merged.accuracies.items():
                table.add_row(f"  {side}", *gaps, _interval(estimate))
            ratio = _interval(merged.disparate_impact)
            table.add_row(f"  {merged.worst} / {merged.best}", *gaps, "", "", ratio)
        for rate, errors in found.at_false_match_rate.items():
            for kind, of_groups in (("FMR", errors.false_match), ("FNMR", errors.false_non_match)):
                rates = map(_interval, of_groups.values())
                table.add_row(f"{kind} at FMR {100 * rate:g}", *rates)
        return table


def _values(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Leave the intervals out."""
    return {name: estimate.value for name, estimate in estimates.items()}


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _interval(estimate: Estimate) -> str:
    """Write a share, and below it its interval, in percent."""
    if math.isnan(estimate.low):
        return _percent(estimate.value)
    return f"{_percent(estimate.value)}\n[{_percent(estimate.low)}, {_percent(estimate.high)}]"
