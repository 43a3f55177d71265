"""Turn the runs of `benchmarks.search` into a page with tables, targets and a figure."""

import math
import platform
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from benchmarks.search_runs import COARSE, Run, Scale
from matplotlib.axes import Axes

from qdgs_lightning.utils.atomic_files import replacing, write_measured

LEVELS = (0.5, 0.75, 0.9, 0.97)
DEFAULT = "targeted"
PUBLISHED = "published"
SECONDS, EVALUATIONS = 0, 1  # columns of a curve
RIVALS = ("random", "map_elites", "cma_maega")


@dataclass(frozen=True, kw_only=True)
class Results:
    """All runs, and what they have in common."""

    runs: list[Run]
    scale: Scale
    generator: str
    command: str
    budget: str

    @property
    def names(self) -> list[str]:
        """The algorithms, in order of appearance."""
        return list(dict.fromkeys(run.algorithm for run in self.runs))

    @property
    def reachable(self) -> int:
        """Cells that any run holds."""
        return len(set().union(*(run.cells for run in self.runs)))

    def of(self, name: str) -> list[Run]:
        """The runs of one algorithm, by seed."""
        return sorted((r for r in self.runs if r.algorithm == name), key=lambda run: run.seed)

    def times(self, name: str, cells: float, *, column: int = SECONDS) -> list[float]:
        """CPU-seconds until each run of an algorithm held so many cells; inf where it never did.

        Args:
            name: The algorithm.
            cells: How many cells.
            column: Of the curve; `EVALUATIONS` counts these instead.
        """
        return [
            next((row[column] for row in run.curve if row[2] >= cells), math.inf)
            for run in self.of(name)
        ]

    def time(self, name: str, cells: float, *, column: int = SECONDS) -> float:
        """Their median."""
        times = self.times(name, cells, column=column)
        return float(np.median(times)) if times else math.inf


def write_page(results: Results, folder: Path) -> None:
    """Write ``search.png`` and the measured part of ``search.md``."""
    with replacing(folder / "search.png") as unfinished:
        _draw(results, unfinished)
    seeds = len(results.of(results.names[0]))
    grid = " x ".join(map(str, results.scale.grid))
    measured = f"""Shapes generator `{results.generator}`, published prompts, the package's
small CLIP, a grid of {grid} cells over {_ranges(results.scale)}. Every search
had {results.budget} on one core, calibration included; seeds 0 to {seeds - 1},
medians, and the lowest and highest in brackets. Searches of one seed took turns of five seconds.
Machine:
{platform.processor() or platform.machine()}, Python {platform.python_version()}. Made by

    {results.command}

**Reachable** are the {results.reachable} cells that any run of any algorithm holds, so the figures
depend on who took part. Only latents count that are no longer than 99.9 % of the prior's: beyond,
a generator draws what it was never trained on. Searches that know no such bound spend part of their
budget there; "outside" counts cells that they reached in no other way. **Random search is strong
where latents have few dimensions**: compare with it first.
QD-score: objectives above the lowest of 2,000 prior samples, as a share of their span, summed and
divided by the reachable cells. Evenness: entropy of elites over coarse bins, divided by
its maximum for {COARSE} bins per measure.

{_table(results)}

## CPU-seconds to a share of the reachable cells

{_times_table(results)}

## Targets

{_targets(results)}

![Coverage, QD-score and evenness against CPU-seconds](search.png)
"""
    title = "How fast searches cover the measure space"
    write_measured(folder / "search.md", measured, title=title)


def _ranges(scale: Scale) -> str:
    return " x ".join(f"[{low:.3f}, {high:.3f}]" for low, high in scale.ranges)


def _spread(values: list[float], digits: int = 3) -> str:
    """Format a median, lowest and highest."""
    parts = (float(np.median(values)), min(values), max(values))
    middle, low, high = ("never" if math.isinf(v) else f"{v:.{digits}f}" for v in parts)
    return f"{middle} ({low} .. {high})"


def _table(results: Results) -> str:
    scale, reachable = results.scale, results.reachable
    nats = len(scale.grid) * math.log(COARSE)
    lines = [
        "| search | coverage of reachable | QD-score | evenness | mean objective | evaluations | "
        "outside |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in results.names:
        runs = results.of(name)
        last = [run.curve[-1] for run in runs]
        cells = [
            _spread([row[2] / reachable for row in last]),
            _spread([row[3] / (scale.high - scale.low) / reachable for row in last]),
            _spread([row[4] / nats for row in last]),
            _spread([float(np.mean(run.objective)) for run in runs], 1),
            f"{np.median([row[1] for row in last]):.0f}",
            f"{np.median([run.outside for run in runs]):.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _times_table(results: Results) -> str:
    lines = [
        f"| search | {' | '.join(f'{level:.0%}' for level in LEVELS)} |",
        "|---|" + "---|" * len(LEVELS),
    ]
    for name in results.names:
        cells = [_spread(results.times(name, level * results.reachable), 0) for level in LEVELS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _targets(results: Results) -> str:
    reachable = results.reachable
    lines = ["| target | wanted | measured |", "|---|---|---|"]
    lines.append(
        f"| time of `published` over ours, to any coverage that it reaches | >= 10 | "
        f"{_against_published(results)} |"
    )
    ours = results.time(DEFAULT, 0.9 * reachable)
    rivals = {name: results.time(name, 0.9 * reachable) for name in RIVALS if results.of(name)}
    best = min(rivals, key=lambda name: rivals[name], default="no rival ran")
    measured = f"ours {_seconds(ours)}, the best ({best}) {_seconds(rivals.get(best, math.inf))}"
    if math.isfinite(ours) and math.isfinite(rivals.get(best, math.inf)):
        evaluations = [
            results.time(name, 0.9 * reachable, column=EVALUATIONS) for name in (DEFAULT, best)
        ]
        measured += (
            f": {ours / rivals[best]:.2f}; {evaluations[0]:.0f} and {evaluations[1]:.0f} "
            f"evaluations: {evaluations[0] / evaluations[1]:.2f}"
        )
    elif math.isfinite(ours) and rivals:
        budget = min(run.curve[-1][0] for n in rivals for run in results.of(n))
        measured += f": below {ours / budget:.2f}"
    lines.append(
        f"| our time to 90 % of reachable over the best of {', '.join(RIVALS)} | <= 0.5 | "
        f"{measured} |"
    )
    within = [run.curve[-1][2] / reachable for run in results.of(DEFAULT)]
    budget = max((run.curve[-1][0] for run in results.of(DEFAULT)), default=0)
    lines.append(
        f"| coverage of reachable after 300 s of two cores | >= 0.97 | after {budget:.0f} "
        f"CPU-seconds of one: {_spread(within) if within else 'did not run'} |"
    )
    lines.append(
        "| mean objective less that of CMA-MAEGA, in cells that both hold | >= 0 | "
        f"{_difference(results, 'cma_maega')} |"
    )
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f} s"


def _against_published(results: Results) -> str:
    """Return the ratios of times at even steps of the coverage that the published reaches."""
    runs = results.of(PUBLISHED)
    if not runs or not results.of(DEFAULT):
        return "did not run"
    # The calibration sample is the same for both, so the time that it takes says nothing.
    begin = float(np.median([run.curve[0][2] for run in runs]))
    end = float(np.median([run.curve[-1][2] for run in runs]))
    calibration = {
        name: float(np.median([run.curve[0][0] for run in results.of(name)]))
        for name in (PUBLISHED, DEFAULT)
    }
    ratios = []
    for cells in np.linspace(begin, end, 12)[1:]:
        theirs, ours = (
            results.time(name, cells) - calibration[name] for name in (PUBLISHED, DEFAULT)
        )
        if math.isfinite(theirs) and ours > 0:
            ratios.append(theirs / ours)
    if not ratios:
        return "it reached nothing that ours did not have after the calibration sample"
    shown = ", ".join(f"{ratio:.1f}" for ratio in ratios)
    return (
        f"{shown} at even steps from {begin / results.reachable:.0%} of reachable, which the "
        f"calibration sample gives both, to the {end / results.reachable:.0%} where it ended; time "
        "after that sample, and no less than one iteration"
    )


def _difference(results: Results, other: str) -> str:
    """Return the mean difference of objectives in cells that two algorithms hold, by seed."""
    differences = []
    for ours, theirs in zip(results.of(DEFAULT), results.of(other), strict=False):
        mine, its = (dict(zip(run.cells, run.objective, strict=True)) for run in (ours, theirs))
        both = mine.keys() & its.keys()
        if both:
            differences.append(float(np.mean([mine[cell] - its[cell] for cell in both])))
    return _spread(differences, 2) if differences else "did not run"


def _draw(results: Results, path: Path) -> None:
    """Draw coverage, QD-score and evenness against time: medians, and the range over seeds."""
    scale, reachable = results.scale, results.reachable
    factors = (
        ("coverage of reachable", 2, reachable),
        ("QD-score per reachable cell", 3, reachable * (scale.high - scale.low)),
        ("evenness", 4, len(scale.grid) * math.log(COARSE)),
    )
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for axis, (label, column, divisor) in zip(axes, factors, strict=True):
        for name in results.names:
            _curve(axis, results.of(name), column, divisor, name)
        axis.set(xlabel="CPU-seconds", ylabel=label, xscale="log")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curve(axis: Axes, runs: list[Run], column: int, divisor: float, name: str) -> None:
    begin = max(run.curve[0][0] for run in runs)
    end = min(run.curve[-1][0] for run in runs)
    times = np.geomspace(begin, max(end, 1.001 * begin), 100)
    values = (
        np.array(
            [
                np.interp(times, [row[0] for row in run.curve], [row[column] for row in run.curve])
                for run in runs
            ]
        )
        / divisor
    )
    (line,) = axis.plot(times, np.median(values, axis=0), label=name)
    axis.fill_between(times, values.min(0), values.max(0), color=line.get_color(), alpha=0.2)
