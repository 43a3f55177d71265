"""What a test of a recogniser tells: tables as in papers, files and numbers for loggers."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from qdgs_lightning.metrics import GroupVerificationResult, VerificationResult
from qdgs_lightning.metrics.bootstrap import Estimate
from qdgs_lightning.reporting.face_fairness import fairness_scalars, mean_accuracy
from qdgs_lightning.reporting.figures import group_bars
from qdgs_lightning.utils.atomic_files import replacing, strict_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {
    "lfw": "LFW",
    "cfp_fp": "CFP-FP",
    "cplfw": "CPLFW",
    "calfw": "CALFW",
    "agedb_30": "AgeDB-30",
}
# What stands behind ± in the table: that which papers of the protocol print.
_SPREAD = ("std", "standard deviation over the ten folds, as insightface prints")
_SPREADS = {
    "facexzoo": ("standard_error", "standard error of the mean of ten folds, as FaceX-Zoo prints")
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
            estimates = {
                arm: {
                    group.removeprefix(f"{name}_"): estimate
                    for group, estimate in groups.accuracies.items()
                }
                for arm, groups in arms.items()
            }
            yield (
                name,
                group_bars(
                    {arm: _values(groups) for arm, groups in estimates.items()},
                    chance=0.5,
                    intervals={
                        arm: {group: (each.low, each.high) for group, each in groups.items()}
                        for arm, groups in estimates.items()
                    },
                ),
            )

    def tables(self) -> list[Table]:
        """Lay out percentages: a table of benchmarks, and those of each set of groups."""
        title = f"Accuracy, % (protocol {self.about['protocol']})"
        plain = Table(title=title, min_width=len(title))
        shown = self.ungrouped
        for name in shown:
            plain.add_column(_TITLES.get(name, name), justify="right")
        plain.add_column("mean", justify="right")
        spreads = [_SPREADS.get(r.protocol, _SPREAD) for r in shown.values()]
        plain.caption = "± " + "; ".join(dict.fromkeys(told for _, told in spreads))
        cells = [
            f"{_percent(r.accuracy)} ± {_percent(getattr(r, spread))}"
            for r, (spread, _) in zip(shown.values(), spreads, strict=True)
        ]
        plain.add_row(*cells, _percent(self.mean))
        groups = (table for name in self.fairness for table in self._group_tables(name))
        return [*([plain] if shown else []), *groups]

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

    def _group_tables(self, name: str) -> Iterator[Table]:
        """Lay out one set of groups, a row each: accuracies, then error rates where there are any.

        Terminals have 80 columns, which a column for each group would exceed.
        """
        found = self.fairness[name]
        names = {group: group.removeprefix(f"{name}_") for group in found.num_same}
        about = f"intervals of 95 % by {found.num_bootstrap} replicates of {found.resampled}"
        table = _table(f"{name}: accuracy, % ({about})", "own thresholds", "one threshold")
        kinds = (found.own, found.pooled)
        for group, short in names.items():
            table.add_row(short, *(_interval(each.accuracies[group]) for each in kinds))
        table.add_section()
        table.add_row("mean", *(_interval(each.mean) for each in kinds))
        table.add_row("std", *(_interval(each.std) for each in kinds))
        table.add_row("worst / best", *(_interval(each.disparate_impact) for each in kinds))
        table.add_section()
        merged = [each for each in (found.merged_own, found.merged_pooled) if each is not None]
        for side in merged[0].accuracies if merged else ():
            table.add_row(side, *(_interval(each.accuracies[side]) for each in merged))
        ratios = [f"{each.worst} / {each.best}" for each in merged]
        for ratio in dict.fromkeys(ratios):  # thresholds may decide which side is the worst
            cells = zip(ratios, merged, strict=True)
            row = (_interval(m.disparate_impact) if own == ratio else "" for own, m in cells)
            table.add_row(ratio, *row)
        yield table
        if found.at_false_match_rate:
            table = _table(f"{name}: error rates, % ({about})", "FMR", "FNMR")
            for rate, errors in found.at_false_match_rate.items():
                table.add_section()
                table.add_row(f"at FMR {100 * rate:g} %")
                for group, short in names.items():
                    both = (errors.false_match[group], errors.false_non_match[group])
                    table.add_row(f"  {short}", *map(_interval, both))
            yield table


def _table(title: str, *columns: str) -> Table:
    """Begin a table whose first column folds long names, and whose others stay in one line."""
    table = Table(title=title, min_width=len(title))
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _values(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Leave the intervals out."""
    return {name: estimate.value for name, estimate in estimates.items()}


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _interval(estimate: Estimate) -> str:
    """Write a share and its interval, in percent."""
    if math.isnan(estimate.low):
        return _percent(estimate.value)
    return f"{_percent(estimate.value)} [{_percent(estimate.low)}, {_percent(estimate.high)}]"
