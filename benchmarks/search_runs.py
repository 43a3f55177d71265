"""Run several searches side by side and write down what each has reached, and when."""

import hashlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Evaluation, Guidance
from qdgs_lightning.search import QDSearch, SearchConfig, evaluate
from qdgs_lightning.search.emitters.prior import LatentPrior
from qdgs_lightning.utils.atomic_files import replacing

COARSE = 10
"""Coarse bins along each measure, for evenness."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What makes searches comparable: one grid, one prior, one scale of objectives."""

    grid: tuple[int, ...]
    ranges: tuple[tuple[float, float], ...]
    prior: LatentPrior
    low: float
    high: float

    @classmethod
    def of(
        cls, generator: Generator, guidance: Guidance, *, grid: tuple[int, ...], n: int = 2000
    ) -> "Scale":
        """Calibrate by a sample of the prior, of a seed that no search uses."""
        latents = generator.sample_latents(n, torch.Generator().manual_seed(2**31))
        sample = evaluate(generator, guidance, latents)
        low, high = np.quantile(sample.measures.double().numpy(), (0.01, 0.99), axis=0)
        margin = 0.25 * (high - low)
        return cls(
            grid=grid,
            ranges=tuple(zip((low - margin).tolist(), (high + margin).tolist(), strict=True)),
            prior=LatentPrior.of(latents.flatten(1).numpy(), quantile=0.999),
            low=float(sample.objective.min()),
            high=float(sample.objective.max()),
        )


def key_of(generator: Generator, guidance: Guidance, grid: tuple[int, ...]) -> str:
    """Name what runs must have in common to be compared: images, judgement and cells."""
    judged = hashlib.sha256(json.dumps(guidance.describe(), sort_keys=True).encode())
    size = "x".join(map(str, grid))
    return f"{generator.fingerprint()}_{judged.hexdigest()[:8]}_{size}"


class Recorder(Guidance):
    """Passes judgement on and remembers the best objective of each cell of the shared grid.

    Only latents count that are no longer than nearly all of the prior: beyond, a generator draws
    what it was never trained on. What lies outside is counted apart.
    """

    def __init__(self, inner: Guidance, scale: Scale) -> None:
        super().__init__()
        self.inner = inner
        self.measure_names = inner.measure_names
        self.evaluations = 0
        self._scale = scale
        cells = int(np.prod(scale.grid))
        self.best = np.full(cells, -np.inf, np.float32)
        self.anywhere = np.zeros(cells, bool)

    def prepare(self) -> None:
        """Prepare what judges."""
        self.inner.prepare()

    def describe(self) -> dict[str, object]:
        """Describe what judges."""
        return self.inner.describe()

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge, and note it."""
        evaluation: Evaluation = self.inner(images, latents)
        scale, flat = self._scale, latents.detach().flatten(1).numpy()
        low, high = np.asarray(scale.ranges).T
        share = (evaluation.measures.detach().numpy() - low) / (high - low)
        grid = np.asarray(scale.grid)
        index = np.clip((share * grid).astype(np.intp), 0, grid - 1)
        cells = np.ravel_multi_index(tuple(index.T), scale.grid)
        norms = np.linalg.norm((flat - scale.prior.mean) / scale.prior.std, axis=1)
        inside = norms <= scale.prior.max_norm
        np.maximum.at(self.best, cells[inside], evaluation.objective.detach().numpy()[inside])
        self.anywhere[cells] = True
        self.evaluations += len(flat)
        return evaluation

    def evenness(self) -> float:
        """Return the entropy, in nats, of elites over coarse bins."""
        held = np.flatnonzero(self.best > -np.inf)
        index = np.stack(np.unravel_index(held, self._scale.grid), axis=1)
        coarse = index * COARSE // np.asarray(self._scale.grid)
        _, counts = np.unique(coarse, axis=0, return_counts=True)
        shares = counts / counts.sum()
        return float(-(shares * np.log(shares)).sum())


@dataclass(kw_only=True)
class Run:
    """What one search reached.

    Attributes:
        algorithm: Its name in the tables.
        seed: Its seed.
        settings: Of the search.
        curve: Rows of CPU-seconds, evaluations, cells, sum of objectives above the lowest, nats.
        cells: Cells that it holds in the end.
        objective: And their objectives.
        outside: Cells that it reached only with latents longer than the prior's.
    """

    algorithm: str
    seed: int
    settings: dict[str, object] = field(default_factory=dict)
    curve: list[list[float]] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    outside: int = 0

    def save(self, folder: Path) -> None:
        """Write this run to a file of its own, whole or not at all."""
        with replacing(self.path(folder, self.algorithm, self.seed)) as unfinished:
            unfinished.write_text(json.dumps(asdict(self)))

    @staticmethod
    def path(folder: Path, algorithm: str, seed: int) -> Path:
        """Where a run is kept."""
        return folder / f"{algorithm}_{seed}.json"


def settings_of(config: SearchConfig) -> dict[str, object]:
    """Return settings of a search as they come back from a JSON file."""
    return dict(json.loads(json.dumps(asdict(config))))


class Contestant:
    """One search that advances in slices of CPU time."""

    def __init__(
        self,
        name: str,
        config: SearchConfig,
        generator: Generator,
        guidance: Guidance,
        scale: Scale,
    ) -> None:
        self.run = Run(algorithm=name, seed=config.seed, settings=settings_of(config))
        self.seconds = 0.0
        self._scale = scale
        self._recorder = Recorder(guidance, scale)
        self.search = QDSearch(generator, self._recorder, config)

    @property
    def evaluations(self) -> int:
        """Evaluations so far."""
        return self._recorder.evaluations

    def advance(self, seconds: float, *, evaluations: float = math.inf) -> None:
        """Search for so many more CPU-seconds or up to so many evaluations, whole iterations."""
        end = self.seconds + seconds
        while self.seconds < end and self.evaluations < evaluations:
            begin = time.process_time()
            self.search.run(self.search.minimum)
            self.seconds += time.process_time() - begin
            curve = self.run.curve
            if not curve or self.seconds >= 1.03 * curve[-1][0]:
                self._note()

    def finish(self, folder: Path) -> Run:
        """Note what was reached and save it."""
        self._note()
        best = self._recorder.best
        held = np.flatnonzero(best > -np.inf)
        self.run.cells, self.run.objective = held.tolist(), best[held].tolist()
        self.run.outside = int((self._recorder.anywhere & (best == -np.inf)).sum())
        self.run.save(folder)
        return self.run

    def _note(self) -> None:
        best = self._recorder.best
        held = best > -np.inf
        score = float((best[held] - self._scale.low).sum())
        row = [self.seconds, self.evaluations, int(held.sum()), score, self._recorder.evenness()]
        self.run.curve.append(row)


def race(
    contestants: Iterable[Contestant],
    folder: Path,
    *,
    seconds: float,
    evaluations: int | None,
    slice_seconds: float = 5.0,
) -> list[Run]:
    """Advance contestants in turns, so that a busy machine slows all alike.

    Args:
        contestants: Searches, none of them begun.
        folder: Where finished runs go.
        seconds: CPU-seconds for each.
        evaluations: Evaluations for each, instead of `seconds`.
        slice_seconds: Length of a turn.
    """
    finished, running = [], list(contestants)
    while running:
        for contestant in list(running):
            most = evaluations or math.inf
            left = slice_seconds if evaluations else seconds - contestant.seconds
            contestant.advance(min(slice_seconds, left), evaluations=most)
            if contestant.evaluations >= most or (
                not evaluations and contestant.seconds >= seconds
            ):
                finished.append(contestant.finish(folder))
                running.remove(contestant)
                last = finished[-1].curve[-1]
                print(
                    f"{finished[-1].algorithm} seed {finished[-1].seed}: {last[2]:.0f} cells, "
                    f"{last[1]:.0f} evaluations, {last[0]:.0f} CPU-seconds",
                    flush=True,
                )
    return finished
