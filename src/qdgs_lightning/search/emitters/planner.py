"""Steps from local models to wanted cells, and what is learnt from where they end."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdgs_lightning.search.emitters.archive_snapshot import Cells, CellSurvey, Floats
from qdgs_lightning.search.emitters.local_models import LocalModels

# A miss by this many cells halves the odds of a target, per measure and roughly.
_HIT_RADIUS = 0.5
# Aims scatter around the middle of a cell, or second tries would repeat the first.
_JITTER = 0.2
# Randomness of choices, as noise on the logarithm of what they promise.
_GUMBEL = 0.3
# In standard deviations of the prior.
_NOISE = 0.01
# Error, in cells, that climbing the objective may cause by the curvature of the measures.
_DRIFT = 0.1
# Lowest and highest lambda.
_DAMPING = (1e-4, 1.0)
_TOO_LONG = 10.0
_FLOOR_PENALTY = 8.0
_NUM_NEARBY = 256
_NEARBY_CELLS = 1.5


@dataclass(frozen=True, kw_only=True)
class Flight:
    """Steps that were taken from models, until what they reached is known."""

    models: NDArray[np.intp]
    targets: Cells
    points: Floats
    steps: Floats
    predicted: Floats


class Aim:
    """Chooses targets for local models, steps to them, and adapts to what the steps reach.

    Args:
        models: What is known of objective and measures.
        num_cells: Cells of the grid.
        max_norm: Largest length of a latent; steps are at most half as long.
        improvement: Worth of raising an elite over the whole scale of quality.
        objective_min: What the archive demands of any elite; None for nothing.
    """

    def __init__(
        self,
        *,
        models: LocalModels,
        num_cells: int,
        max_norm: float,
        improvement: float,
        objective_min: float | None = None,
    ) -> None:
        self.models = models
        self.tries = np.zeros(num_cells, np.float32)
        self.damping = 1e-3
        self.curvature = 1.0
        self._climb = 0.3
        self._max_norm = max_norm
        self._improvement = improvement
        self._objective_min = objective_min

    def fly(self, survey: CellSurvey, cells: Cells, n: int, rng: np.random.Generator) -> Flight:
        """Step to the n most promising cells, each from the model that promises most.

        Args:
            survey: The archive.
            cells: Cells to choose from; cells near the models join them.
            n: How many; fewer where there are fewer cells.
            rng: Source of the randomness.
        """
        models = self.models
        cells = np.union1d(cells, self._nearby(survey, rng))
        centres = survey.centres(cells)
        best, promise = self._match(survey, cells, centres, rng)
        n = min(n, len(cells))
        chosen = np.argpartition(-promise, n - 1)[:n]
        rows, targets = best[chosen], cells[chosen]
        jitter = rng.uniform(-_JITTER, _JITTER, (n, centres.shape[1])).astype(np.float32)
        steps = models.steps(rows, centres[chosen] + jitter - models.positions[rows], self.damping)
        steps *= np.minimum(1, 0.5 * self._max_norm / norms(steps))
        steps += self._drift(rows, rng)
        points = shortened(models.points[rows] + steps, self._max_norm)
        steps = points - models.points[rows]
        np.add.at(models.uses, rows, 1)
        objectives, positions = models.predict(rows, steps)
        return Flight(
            models=rows,
            targets=targets,
            points=points,
            steps=steps,
            predicted=np.column_stack([objectives, positions]),
        )

    def _nearby(self, survey: CellSurvey, rng: np.random.Generator) -> Cells:
        """Return cells near models: on a large grid, few of all wanted cells are."""
        rows = rng.integers(self.models.count, size=_NUM_NEARBY)
        offsets = rng.normal(0, _NEARBY_CELLS, (_NUM_NEARBY, len(survey.grid)))
        return survey.cells_at(self.models.positions[rows] + offsets.astype(np.float32))

    def _match(
        self, survey: CellSurvey, cells: Cells, centres: Floats, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], Floats]:
        """Return for each target the best model, and the logarithm of what it promises."""
        models = self.models
        reach = models.reach(centres, self.damping)
        climb = 0.5 * self._climb * models.ascent_slopes()[:, None]
        quality = survey.rate(reach.objective + climb)
        present = survey.cell_quality[cells]
        empty = np.isinf(present)
        gain = np.clip(quality - np.where(empty, 0, present), 1e-4, 1)
        worth = np.where(
            empty, 0.25 * np.clip(quality, -1, 1), np.log(self._improvement * gain + 1e-9)
        )
        chance = -0.5 * centres.shape[1] * np.log1p((reach.miss / _HIT_RADIUS) ** 2)
        chance -= floor_penalty(survey, quality, self._objective_min)
        chance -= np.where(reach.length > 0.5 * self._max_norm, _TOO_LONG, 0)
        promise = worth + chance - np.log1p(self.tries[cells])
        promise -= 0.5 * np.log1p(models.uses[: models.count, None])
        promise += _GUMBEL * rng.gumbel(size=promise.shape)
        best = promise.argmax(axis=0)
        return best, promise[best, np.arange(len(cells))].astype(np.float32)

    def _drift(self, rows: NDArray[np.intp], rng: np.random.Generator) -> Floats:
        """Return a climb and noise that keep, to first order, the measures of models."""
        directions, _ = self.models.ascent(rows)
        # Farther, and curvature would carry the latent out of the cell.
        lengths = np.sqrt(_DRIFT / np.maximum(self.models.curvature[rows], 1e-6))
        lengths = np.minimum(lengths, self._climb) * rng.random(len(rows))
        noise = rng.standard_normal(directions.shape, dtype=np.float32) * _NOISE
        noise = self.models.without_measures(rows, noise)
        return (directions * lengths[:, None] + noise).astype(np.float32)

    def learn(
        self, survey: CellSurvey, flight: Flight, objective: Floats, positions: Floats
    ) -> None:
        """Adapt damping and climb to the errors of predictions, and turn children into models.

        Args:
            survey: The archive as it was when the flight began.
            flight: The steps.
            objective: What they reached, shape ``[n]``.
            positions: And where, in cells, shape ``[n, k]``.
        """
        models, rows = self.models, flight.models
        errors = np.column_stack([objective, positions]) - flight.predicted
        squared = np.maximum((flight.steps**2).sum(axis=1), 1e-9)
        miss = norms(errors[:, 1:])[:, 0]
        # A quarter of a cell more, or moves within a cell would count as total failures.
        relative = miss / (norms(flight.predicted[:, 1:] - models.positions[rows])[:, 0] + 0.25)
        self.damping = _adapted(self.damping, 1 - float(np.median(relative)), 1.25)
        self.damping = float(np.clip(self.damping, *_DAMPING))
        gains = np.abs(flight.predicted[:, 0] - models.objectives[rows]) + 0.01 * survey.scale
        trust = 1 - float(np.median(np.abs(errors[:, 0]) / gains))
        # Agreement lengthens the climb: the inverse of damping.
        self._climb = 1 / _adapted(1 / self._climb, trust, 1.1)
        self._climb = float(np.clip(self._climb, 1e-3 * self._max_norm, 0.5 * self._max_norm))
        curvature = miss / squared
        self.curvature += 0.1 * (float(np.median(curvature)) - self.curvature)
        np.add.at(self.tries, flight.targets, 1)
        keep = relative < 1
        inherited = np.sqrt(np.maximum(models.curvature[rows] * curvature, 1e-12))
        models.add(
            flight.points[keep],
            objective[keep],
            positions[keep],
            models.corrected(rows[keep], flight.steps[keep], errors[keep]),
            inherited[keep].astype(np.float32),
        )

    def remember(self, cells: Cells, status: NDArray[np.int32], grid: NDArray[np.int32]) -> None:
        """Forget failures at cells that were reached, and half of those beside new ones."""
        self.tries[cells[status > 0]] = 0
        corners = np.stack(np.unravel_index(cells[status == 2], tuple(grid)), axis=-1)
        along = np.eye(len(grid), dtype=np.intp)
        beside = np.clip(corners[:, None] + np.concatenate([along, -along]), 0, grid - 1)
        self.tries[np.ravel_multi_index(tuple(np.moveaxis(beside, -1, 0)), tuple(grid))] *= 0.5


def floor_penalty(survey: CellSurvey, quality: Floats, objective_min: float | None) -> Floats:
    """Return what an expected quality below the archive's floor takes from log-chances."""
    if objective_min is None:
        return np.zeros_like(quality)
    floor = (objective_min - survey.low) / survey.scale
    penalty: Floats = _FLOOR_PENALTY * np.maximum(floor - quality, 0)
    return penalty


def shortened(points: Floats, max_norm: float) -> Floats:
    """Shorten rows that are longer than `max_norm`."""
    within: Floats = (points * np.minimum(1, max_norm / norms(points))).astype(np.float32)
    return within


def norms(rows: Floats) -> Floats:
    """Return Euclidean lengths, shape ``[n, 1]``, never quite zero."""
    lengths: Floats = np.maximum(np.sqrt((rows**2).sum(axis=1, keepdims=True)), 1e-9)
    return lengths


def _adapted(value: float, agreement: float, rate: float) -> float:
    """Lower a caution where predictions agree with results, and raise it where they do not."""
    if agreement > 0.7:
        return value / rate
    return value * rate if agreement < 0.3 else value
