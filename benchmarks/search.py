"""Compare all search algorithms on the shapes, at equal CPU time; resumable.

Run by hand, for about seeds x algorithms x seconds:

    OMP_NUM_THREADS=1 python -m benchmarks.search --seeds 5 --seconds 300
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from benchmarks.search_report import Results, write_page
from benchmarks.search_runs import Contestant, Run, Scale, key_of, race, settings_of
from jsonargparse import auto_cli

from qdgs_lightning.generators import ImplicitGenerator
from qdgs_lightning.guidance import PromptGuidance
from qdgs_lightning.search import SearchConfig
from qdgs_lightning.utils.memory import keep_freed_memory

ALGORITHMS = (
    "targeted",
    "screened",
    "cma_maega",
    "cma_mega",
    "cma_mae",
    "map_elites",
    "random",
    "published",
)


def configure(name: str, scale: Scale, seed: int) -> SearchConfig:
    """Return the settings of a contestant: the defaults of this package, but where noted."""
    if name == "published":
        return SearchConfig.published(grid=scale.grid, seed=seed)
    config = SearchConfig(grid=scale.grid, ranges=scale.ranges, seed=seed)
    # The best of a small sweep (seed 100, 30 CPU-seconds each). Line, as (sigma, line_sigma):
    # (0.05, 0.2), (0.1, 0.3), (0.2, 0.5), (0.3, 0.3). CMA-MAEGA, whose choice CMA-MEGA shares, as
    # (sigma, step_size): (0.5, 0.05), (0.1, 0.05), (2, 0.2). CMA-MAE was not swept.
    match name:
        case "cma_maega" | "cma_mega":
            return replace(config, algorithm=name, sigma=0.5, step_size=0.05)
        case "cma_mae":
            return replace(config, algorithm="cma_mae", sigma=0.2)
        case "map_elites":
            return replace(config, algorithm="map_elites", sigma=0.05, line_sigma=0.2)
        case "random" | "screened":
            return replace(config, algorithm=name)
        case "targeted":
            return config
    raise ValueError(f"{name!r} is no contestant; choose from {', '.join(ALGORITHMS)}.")


def main(
    seeds: int = 5,
    seconds: float = 300.0,
    evaluations: int | None = None,
    algorithms: list[str] | None = None,
    grid: tuple[int, int] = (50, 50),
    output: Path = Path("docs/results"),
    runs: Path = Path("runs/benchmark_search"),
    generator: str = "shapes_generator_090",
) -> None:
    """Race, then write the page.

    Args:
        seeds: How many seeds, from 0.
        seconds: CPU-seconds of each search.
        evaluations: Evaluations of each search, instead of seconds.
        algorithms: Who takes part; all by default.
        grid: Cells along colour and shape.
        output: Where search.md and search.png go.
        runs: Where finished runs are kept: what is there is not run again.
        generator: Weights of the generator.
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    model, guidance = ImplicitGenerator(weights=generator), PromptGuidance()
    model.prepare()
    guidance.prepare()
    scale = Scale.of(model, guidance, grid=grid)
    budget = f"{evaluations} evaluations" if evaluations else f"{seconds:g} CPU-seconds"
    folder = runs / f"{key_of(model, guidance, grid)}_{budget.replace(' ', '_')}"
    names = algorithms or list(ALGORITHMS)
    for seed in range(seeds):
        missing = [name for name in names if not Run.path(folder, name, seed).exists()]
        contestants = [
            Contestant(name, configure(name, scale, seed), model, guidance, scale)
            for name in missing
        ]
        race(contestants, folder, seconds=seconds, evaluations=evaluations)
    finished = [
        Run(**json.loads(Run.path(folder, name, seed).read_text()))
        for name in names
        for seed in range(seeds)
    ]
    for run in finished:
        if run.settings != settings_of(configure(run.algorithm, scale, run.seed)):
            path = Run.path(folder, run.algorithm, run.seed)
            raise SystemExit(f"{path} is of other settings than {run.algorithm} has: remove it.")
    command = " ".join(["OMP_NUM_THREADS=1 python -m benchmarks.search", *sys.argv[1:]])
    results = Results(
        runs=finished, scale=scale, generator=generator, command=command, budget=budget
    )
    write_page(results, output)
    print((output / "search.md").read_text())


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
