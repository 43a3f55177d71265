"""Aim latents at the cells of an archive that are empty or weak."""

import math
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ribs.archives import GridArchive
from ribs.emitters import EmitterBase
from ribs.typing import BatchData

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.search.emitters.archive_snapshot import Cells, CellSurvey, Floats, grid_position
from qdgs_lightning.search.emitters.exploration import FRESH, LINE, WAYS, Exploration
from qdgs_lightning.search.emitters.local_models import LocalModels
from qdgs_lightning.search.emitters.planner import Aim, Flight
from qdgs_lightning.search.emitters.prior import LatentPrior, Prior
from qdgs_lightning.search.emitters.surrogate import Surrogate

# What a way earned twenty iterations ago counts a third.
_DISCOUNT = 0.95
_LEAST_SHARE = 0.05

# Memory of the models: they all go into every saved state.
_MODEL_BYTES = 32 * 2**20
_MAX_MODELS = 512
_NUM_TARGETS = 256


class TargetedEmitterError(QDGSError):
    """Arguments that a `TargetedEmitter` cannot work with."""


class TargetedEmitter(EmitterBase):
    """Differentiable quality diversity that solves for latents in the cells that lack good ones.

    Where the measures m are differentiable, an empty cell can be aimed at. From a latent x with
    Jacobian J of the measures, the shortest step to the middle m* of a cell nearby is, to first
    order and with Levenberg's damping, ``J^T (J J^T + lambda I)^-1 (m* - m(x))``. To it comes a
    climb along the objective's gradient, and a little noise, both within the null space of J,
    where they change no measure.

    - **Gradients are reused.** What a step reached corrects the Jacobian by Broyden's update, so
      that each child is a model as good as its parent, without a gradient of its own: a miss is
      followed by a second, shorter step, a hit by a step to the next cell. Real Jacobians, for
      `num_parents` elites beside wanted cells per iteration, keep the models fresh.
    - **Aims are chosen by what they promise**: an empty cell, or the gain expected in one that is
      worse than its neighbours; times the chance to end in it, by length of the step and measured
      curvature; less, the more often the cell was missed. Full neighbourhoods have no near
      targets, so steps grow by themselves.
    - **Exploration has its share.** Short and long lines between two elites, elites blended with
      the prior, and the prior itself find what no gradient points to. Of all but the short lines
      many more are made than evaluated: a surrogate that learns from every evaluation picks those
      that it expects in empty cells of regions with few elites, see `Exploration`; the short lines
      find what it errs about. Shares follow the measured success per cost of each way.
    - **Bounds.** A step is at most half of `max_norm` long and no latent is longer than it, in
      standard deviations of the prior. Lambda falls while predicted and reached measures agree,
      and rises where they do not.

    Args:
        archive: An elitist grid archive (without `learning_rate`), which may be shared.
        x0: Mean of the prior of latents, shape ``[D]``; zero by default.
        sigma0: Standard deviation of the prior, of all or of each coordinate.
        prior: Samples it; normal with `x0` and `sigma0` by default.
        max_norm: Largest length of a latent, in standard deviations from `x0`. By default nearly
            all of a normal distribution passes; `LatentPrior` takes it from a sample.
        initial_solutions: What to emit while the archive is empty, shape ``[n, D]``; samples of the
            prior by default.
        batch_size: Latents per iteration, those from `ask_dqd` included.
        num_parents: Latents from `ask_dqd`; an eighteenth of `batch_size` by default.
        jacobian_cost: Time of a Jacobian in evaluations; by default one per gradient and one for
            the forward pass.
        improvement: What raising an elite over the whole scale of quality is worth against filling
            an empty cell.
        objective_min: What the archive demands of any elite, where it has such a floor: steps that
            are expected to end below it are avoided.
        seed: Seeds all choices.

    Raises:
        TargetedEmitterError: A number is out of its range, or the latents are not vectors.

    Example:
        >>> emitter = TargetedEmitter(archive, batch_size=36, seed=0)
        >>> scheduler = ribs.schedulers.Scheduler(archive, [emitter])
    """

    def __init__(
        self,
        archive: GridArchive,
        *,
        x0: ArrayLike | None = None,
        sigma0: ArrayLike = 1.0,
        prior: Prior | None = None,
        max_norm: float | None = None,
        initial_solutions: ArrayLike | None = None,
        batch_size: int = 36,
        num_parents: int | None = None,
        jacobian_cost: float | None = None,
        improvement: float = 0.1,
        objective_min: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            archive,
            solution_dim=archive.solution_dim,
            bounds=None,
            lower_bounds=None,
            upper_bounds=None,
        )
        dim = archive.solution_dim
        if not isinstance(dim, int | np.integer):
            raise TargetedEmitterError(
                f"The archive holds solutions of shape {dim}; flatten them to one dimension."
            )
        k = int(archive.measure_dim)
        self._dim = int(dim)
        self._max_norm = math.sqrt(dim) + 1.65 if max_norm is None else float(max_norm)
        self._num_parents = max(1, batch_size // 18) if num_parents is None else num_parents
        self._jacobian_cost = 2.0 + k if jacobian_cost is None else jacobian_cost
        if not 0 < self._num_parents < batch_size or not 0 < self._max_norm < math.inf:
            raise TargetedEmitterError(
                f"batch_size is {batch_size}, num_parents {self._num_parents} and max_norm "
                f"{self._max_norm}; give 0 < num_parents < batch_size and a positive max_norm."
            )
        self._batch_size = batch_size
        self._improvement = improvement
        self._prior = prior
        self._rng = np.random.default_rng(seed)
        mean = np.zeros(dim, np.float32) if x0 is None else np.array(x0, np.float32)
        std = np.broadcast_to(np.asarray(sigma0, np.float32), (self._dim,)).copy()
        if mean.shape != (dim,) or not (std > 0).all():
            raise TargetedEmitterError(
                f"x0 has shape {mean.shape} and sigma0 a minimum of {std.min()}; give "
                f"{dim} numbers, and standard deviations above 0."
            )
        self._scale = LatentPrior(mean=mean, std=std, max_norm=self._max_norm)
        self._initial = None if initial_solutions is None else np.array(initial_solutions)
        # As many as fit: in latents of thousands of dimensions a model takes 100 KB or more.
        fitting = _MODEL_BYTES // (4 * self._dim * (2 + k))
        capacity = max(2 * batch_size, min(_MAX_MODELS, fitting))
        self._aim = Aim(
            models=LocalModels(capacity=capacity, dim=self._dim, num_measures=k),
            num_cells=int(archive.cells),
            max_norm=self._max_norm,
            improvement=improvement,
            objective_min=objective_min,
        )
        self._exploration = Exploration(
            surrogate=Surrogate(dim=self._dim, num_values=1 + k, seed=0 if seed is None else seed),
            max_norm=self._max_norm,
            improvement=improvement,
            objective_min=objective_min,
        )
        # Aims first, then the ways of exploration: also the order of rows in a batch.
        self._rewards = np.ones(1 + len(WAYS))
        self._costs = np.ones(1 + len(WAYS))
        # Known only between an ask and its tell.
        self._survey: CellSurvey | None = None
        self._flight: Flight | None = None
        self._targets: Cells | None = None
        self._expected: Cells | None = None
        self._counts: tuple[int, ...] | None = None
        self._num_jacobians = 0

    @property
    def archive(self) -> GridArchive:
        """Where latents go, and where parents and targets come from."""
        return cast(GridArchive, self._archive)

    @property
    def batch_size(self) -> int:
        """Latents per iteration, those from `ask_dqd` included."""
        return self._batch_size

    @property
    def damping(self) -> float:
        """Lambda, relative to the mean eigenvalue of ``J J^T``."""
        return self._aim.damping

    @property
    def shares(self) -> Floats:
        """Shares of aims, lines, leaps, blends and fresh samples in a batch, shape ``[5]``."""
        # Squared, so that twice the success means four times the share.
        rates = (self._rewards / self._costs) ** 2
        shares = np.maximum(rates / rates.sum(), _LEAST_SHARE)
        normalised: Floats = (shares / shares.sum()).astype(np.float32)
        return normalised

    def ask_dqd(self) -> Floats:
        """Return `num_parents` elites beside empty or weak cells, or none of an empty archive."""
        archive = self.archive
        if archive.empty:
            return np.empty((0, self._dim), np.float32)
        survey = self._survey = CellSurvey(archive)
        self._exploration.begin(survey, self._elites)
        self._targets = survey.targets(_NUM_TARGETS, self._aim.tries, self._improvement, self._rng)
        wanted = survey.centres(self._targets[: self._num_parents])
        squared = (
            (wanted**2).sum(axis=1)[:, None]
            - 2 * wanted @ survey.positions.T
            + (survey.positions**2).sum(axis=1)
        )
        appeal = np.clip(survey.quality, 0, 1) - np.sqrt(np.maximum(squared, 0))
        appeal += 0.5 * self._rng.gumbel(size=appeal.shape)
        return self._scale.outward(self._elites(np.unique(appeal.argmax(axis=1))))

    def tell_dqd(
        self,
        solution: ArrayLike,
        objective: ArrayLike,
        measures: ArrayLike,
        jacobian: ArrayLike,
        add_info: BatchData,
        **fields: ArrayLike,
    ) -> None:
        """Take Jacobians ``[n, 1 + k, D]``, the gradient of the objective (more is better) first.

        The array is left as it is.
        """
        archive = self.archive
        self._num_jacobians = len(np.asarray(solution))
        cells_per_unit = (archive.dims / archive.interval_size).astype(np.float32)
        gradients = np.asarray(jacobian, np.float32) * self._scale.std
        gradients[:, 1:] *= cells_per_unit[:, None]
        points = self._scale.inward(np.asarray(solution, np.float32))
        objective = np.asarray(objective, np.float32)
        positions = grid_position(archive, np.asarray(measures, np.float32))
        if self._survey is not None:
            self._exploration.learn(self._survey, points, objective, positions)
        self._aim.models.add(
            points,
            objective,
            positions,
            gradients,
            np.full(self._num_jacobians, self._aim.curvature, np.float32),
        )

    def ask(self) -> Floats:
        """Return the rest of the batch: aims, lines, leaps, blends and fresh samples, in order."""
        survey = self._survey
        if survey is None:
            return self._start()
        n = self._batch_size - self._num_jacobians
        shares = self.shares
        aimed = self._aimed(survey, min(n, int(n * shares[0] + self._rng.random())))
        left = n - len(aimed)
        # Rounding running totals makes whole numbers that sum to what is left.
        totals = np.cumsum(shares[1:]) / shares[1:].sum() * left
        counts = np.diff(np.round(totals).astype(int), prepend=0).tolist()
        parts, expected = [aimed], []
        for way, count in zip(WAYS, counts, strict=True):
            if count:
                points, cells = self._explored(survey, count, way)
                parts.append(points)
                expected.append(cells)
        self._counts = (len(aimed), *counts)
        self._expected = np.concatenate(expected) if expected else np.empty(0, np.intp)
        return self._scale.outward(np.concatenate(parts))

    def tell(
        self,
        solution: ArrayLike,
        objective: ArrayLike,
        measures: ArrayLike,
        add_info: BatchData,
        **fields: ArrayLike,
    ) -> None:
        """Learn from what the latents of `ask` reached."""
        if self._survey is None or self._counts is None or self._expected is None:
            return
        objective = np.asarray(objective, np.float32)
        positions = grid_position(self.archive, np.asarray(measures, np.float32))
        self._account(self._survey, self._counts, add_info)
        n = self._counts[0]
        if self._flight is not None:
            self._aim.learn(self._survey, self._flight, objective[:n], positions[:n])
        np.add.at(self._aim.tries, self._expected, 1)
        points = self._scale.inward(np.asarray(solution, np.float32))
        self._exploration.learn(self._survey, points, objective, positions)
        cells = self._survey.cells_at(positions)
        self._aim.remember(cells, np.asarray(add_info["status"]), self.archive.dims)
        self._survey = self._targets = self._expected = self._flight = self._counts = None

    def _start(self) -> Floats:
        """Return what opens an empty archive."""
        if self._initial is not None:
            return self._initial.astype(np.float32)
        return self._scale.outward(self._draw(self._batch_size))

    def _aimed(self, survey: CellSurvey, n: int) -> Floats:
        """Return up to n latents that aim at cells."""
        cells = self._targets
        if cells is None or n == 0 or self._aim.models.count == 0:
            return np.empty((0, self._dim), np.float32)
        self._flight = self._aim.fly(survey, cells, n, self._rng)
        return self._flight.points

    def _draw(self, n: int) -> Floats:
        """Draw n latents from the prior, in standard deviations."""
        if self._prior is None:
            return self._rng.standard_normal((n, self._dim), dtype=np.float32)
        return self._scale.inward(self._prior(n, int(self._rng.integers(2**31))))

    def _explored(self, survey: CellSurvey, n: int, way: int) -> tuple[Floats, Cells]:
        """Return n latents made in one of the ways of exploration, and cells expected of them."""
        explore, rng = self._exploration, self._rng
        if way == LINE:
            return explore.lines(survey, n, elites=self._elites, rng=rng), np.empty(0, np.intp)
        tries, draw = self._aim.tries, self._draw
        if way == FRESH:
            return explore.fresh(survey, n, draw=draw, tries=tries, rng=rng)
        return explore.varied(survey, n, way, elites=self._elites, draw=draw, tries=tries, rng=rng)

    def _account(self, survey: CellSurvey, counts: tuple[int, ...], add_info: BatchData) -> None:
        """Credit each way with its new cells and improvements, and charge it its cost."""
        status = np.asarray(add_info["status"])
        raised = np.clip(np.asarray(add_info["value"]) / survey.scale, 0, 1)
        rewards = np.where(status == 2, 1, np.where(status == 1, self._improvement * raised, 0))
        ways = np.repeat(np.arange(len(counts)), counts)
        costs = np.asarray(counts, np.float64)
        costs[0] += self._num_jacobians * self._jacobian_cost
        self._rewards = _DISCOUNT * self._rewards + np.bincount(ways, rewards, len(counts))
        self._costs = _DISCOUNT * self._costs + costs

    def _elites(self, rows: NDArray[np.intp]) -> Floats:
        """Return elites of the survey in standard deviations from the mean."""
        assert self._survey is not None
        _, elites = self.archive.retrieve(self._survey.measures[rows])
        return self._scale.inward(elites["solution"])
