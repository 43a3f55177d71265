"""Count the cells that the default search holds after some minutes of all cores.

Run by hand, for seeds x seconds of an otherwise idle machine, after ``benchmarks.search``, whose
runs say which cells can be reached:

    python -m benchmarks.five_minutes
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from benchmarks.search import configure
from benchmarks.search_runs import Recorder, Scale, key_of
from jsonargparse import auto_cli

from qdgs_lightning.generators import ImplicitGenerator
from qdgs_lightning.guidance import PromptGuidance
from qdgs_lightning.search import QDSearch
from qdgs_lightning.utils.memory import keep_freed_memory


def reached_by_others(runs: Path, key: str) -> set[int]:
    """Return the cells that any run of ``benchmarks.search`` of the same key holds."""
    folders = f"{key}_*"
    cells: set[int] = set()
    for path in sorted(runs.glob(f"{folders}/*.json")):
        cells |= set(json.loads(path.read_text())["cells"])
    if not cells:
        raise SystemExit(f"{runs} holds no runs named {folders}; run benchmarks.search first.")
    return cells


def main(
    seeds: int = 3,
    seconds: float = 300.0,
    threads: int = 2,
    grid: tuple[int, int] = (50, 50),
    runs: Path = Path("runs/benchmark_search"),
    generator: str = "shapes_generator_090",
) -> None:
    """Search by the clock on the wall, one seed after the other.

    Args:
        seeds: How many seeds, from 0.
        seconds: Length of each search, calibration included.
        threads: Threads of torch.
        grid: Cells along colour and shape, as in ``benchmarks.search``.
        runs: Where that keeps its runs.
        generator: Weights of the generator.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    model, guidance = ImplicitGenerator(weights=generator), PromptGuidance()
    model.prepare()
    guidance.prepare()
    scale = Scale.of(model, guidance, grid=grid)
    known = reached_by_others(runs, key_of(model, guidance, grid))
    reachable = set(known)
    held: list[set[int]] = []
    for seed in range(seeds):
        recorder = Recorder(guidance, scale)
        search = QDSearch(model, recorder, configure("targeted", scale, seed))
        begin, busy = time.perf_counter(), time.process_time()
        while time.perf_counter() - begin < seconds:
            search.run(search.minimum)
        cells = set(np.flatnonzero(recorder.best > -np.inf).tolist())
        held.append(cells)
        reachable |= cells
        print(
            f"targeted seed {seed}: {len(cells)} cells, {len(cells & known)} of the {len(known)} "
            f"known ones, {recorder.evaluations} evaluations, {threads} threads for "
            f"{time.perf_counter() - begin:.0f} s ({time.process_time() - busy:.0f} CPU-seconds)",
            flush=True,
        )
    shares = ", ".join(f"{len(cells) / len(reachable):.3f}" for cells in held)
    print(f"of {len(reachable)} cells that any run holds: {shares} (target >= 0.97)")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
