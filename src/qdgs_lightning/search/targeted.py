"""Aim latents at the cells of an archive that are empty or weak."""

import math
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ribs.archives import GridArchive
from ribs.emitters import EmitterBase
from ribs.typing import BatchData

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.search.aim import Aim, Flight, shortened
from qdgs_lightning.search.cell_survey import Cells, CellSurvey, Floats, grid_position
from qdgs_lightning.search.local_models import LocalModels

# Ways to make a latent, in the order of rows in a batch and of the emitter's accounts.
_AIM, _LINE, _WANDER = range(3)
_NUM_WAYS = 3
# What a way earned twenty iterations ago counts a third.
_DISCOUNT = 0.95
_LEAST_SHARE = 0.08

# Memory of one emitter's models: they all go into every saved state.
_MODEL_BYTES = 16 * 2**20
_MAX_MODELS = 256
_NUM_TARGETS = 128
# Explored latents that are judged by the models for one that is evaluated, and the numbers that
# all of them may have: in thousands of dimensions they cost more than they bring.
_CANDIDATES = 8
_CANDIDATE_NUMBERS = 2**20

# In standard deviations of the prior, and in distances between two elites.
_LINE_SIGMAS = (0.1, 0.5)
# Smallest and largest weight of the prior in a blend.
_WANDER_RANGE = (0.05, 1.0)


class TargetedEmitterError(QDGSError):
    """Arguments that a `TargetedEmitter` cannot work with."""


class LatentPrior(NamedTuple):
    """Where latents lie that a generator was trained on.

    Attributes:
        mean: Of each coordinate, shape ``[D]``.
        std: Of each coordinate, shape ``[D]``, above 0.
        max_norm: Largest length of a latent, counted in standard deviations from the mean.
    """

    mean: Floats
    std: Floats
    max_norm: float

    @classmethod
    def of(cls, sample: Floats, *, quantile: float = 0.99) -> "LatentPrior":
        """Take the prior from samples of it.

        Args:
            sample: Shape ``[n, D]``.
            quantile: Share of the sample that `max_norm` lets pass.
        """
        mean, std = sample.mean(axis=0), sample.std(axis=0)
        std = np.where(std > 0, std, 1).astype(np.float32)
        norms = np.linalg.norm((sample - mean) / std, axis=1)
        return cls(mean.astype(np.float32), std, float(np.quantile(norms, quantile)))


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
    - **Exploration has its share.** A line between two elites, and elites blended with the prior,
      find what no gradient points to. Of several such latents those are evaluated that the models
      expect in empty cells. Shares follow the measured success per cost of each way.
    - **Bounds.** A step is at most half of `max_norm` long and no latent is longer than it, in
      standard deviations of the prior. Lambda falls while predicted and reached measures agree,
      and rises where they do not.

    Args:
        archive: An elitist grid archive (without `learning_rate`), which may be shared.
        x0: Mean of the prior of latents, shape ``[D]``; zero by default.
        sigma0: Standard deviation of the prior, of all or of each coordinate.
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
        self._rng = np.random.default_rng(seed)
        self._mean = np.zeros(dim, np.float32) if x0 is None else np.array(x0, np.float32)
        self._std = np.broadcast_to(np.asarray(sigma0, np.float32), (self._dim,)).copy()
        self._initial = None if initial_solutions is None else np.array(initial_solutions)
        if self._mean.shape != (dim,) or not (self._std > 0).all():
            raise TargetedEmitterError(
                f"x0 has shape {self._mean.shape} and sigma0 a minimum of {self._std.min()}; give "
                f"{dim} numbers, and standard deviations above 0."
            )
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
        self._rewards = np.ones(_NUM_WAYS)
        self._costs = np.ones(_NUM_WAYS)
        # Known only between an ask and its tell.
        self._survey: CellSurvey | None = None
        self._flight: Flight | None = None
        self._targets: Cells | None = None
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
        """Shares of aimed, line and prior-blended latents in a batch, shape ``[3]``."""
        rates = self._rewards / self._costs
        shares = np.maximum(rates / rates.sum(), _LEAST_SHARE)
        normalised: Floats = (shares / shares.sum()).astype(np.float32)
        return normalised

    def ask_dqd(self) -> Floats:
        """Return `num_parents` elites beside empty or weak cells, or none of an empty archive."""
        archive = self.archive
        if archive.empty:
            return np.empty((0, self._dim), np.float32)
        survey = self._survey = CellSurvey(archive)
        self._targets = survey.targets(_NUM_TARGETS, self._aim.tries, self._improvement, self._rng)
        wanted = survey.centres(self._targets[: self._num_parents])
        squared = (
            (wanted**2).sum(axis=1)[:, None]
            - 2 * wanted @ survey.positions.T
            + (survey.positions**2).sum(axis=1)
        )
        appeal = np.clip(survey.quality, 0, 1) - np.sqrt(np.maximum(squared, 0))
        appeal += 0.5 * self._rng.gumbel(size=appeal.shape)
        return self._outward(self._elites(np.unique(appeal.argmax(axis=1))))

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
        gradients = np.asarray(jacobian, np.float32) * self._std
        gradients[:, 1:] *= cells_per_unit[:, None]
        self._aim.models.add(
            self._inward(np.asarray(solution, np.float32)),
            np.asarray(objective, np.float32),
            grid_position(archive, np.asarray(measures, np.float32)),
            gradients,
            np.full(self._num_jacobians, self._aim.curvature, np.float32),
        )

    def ask(self) -> Floats:
        """Return the rest of the batch: aimed, line and prior-blended latents, in this order."""
        survey = self._survey
        if survey is None:
            return self._start()
        n = self._batch_size - self._num_jacobians
        shares = self.shares
        num_aimed = min(n, int(n * shares[_AIM] + self._rng.random()))
        aimed = self._aimed(survey, num_aimed)
        rest = n - len(aimed)
        line_share = shares[_LINE] / (shares[_LINE] + shares[_WANDER])
        num_lines = min(rest, int(rest * line_share + self._rng.random()))
        lines = self._explore(survey, num_lines, _LINE)
        blends = self._explore(survey, rest - num_lines, _WANDER)
        self._counts = (len(aimed), len(lines), len(blends))
        return self._outward(np.concatenate([aimed, lines, blends]))

    def tell(
        self,
        solution: ArrayLike,
        objective: ArrayLike,
        measures: ArrayLike,
        add_info: BatchData,
        **fields: ArrayLike,
    ) -> None:
        """Learn from what the latents of `ask` reached."""
        if self._survey is None or self._counts is None:
            return
        objective = np.asarray(objective, np.float32)
        positions = grid_position(self.archive, np.asarray(measures, np.float32))
        self._account(self._survey, self._counts, add_info)
        if self._flight is not None:
            n = self._counts[_AIM]
            self._aim.learn(self._survey, self._flight, objective[:n], positions[:n])
        cells = self._survey.cells_at(positions)
        self._aim.remember(cells, np.asarray(add_info["status"]), self.archive.dims)
        self._survey = self._targets = self._flight = self._counts = None

    def _start(self) -> Floats:
        """Return what opens an empty archive."""
        if self._initial is not None:
            return self._initial.astype(np.float32)
        shape = (self._batch_size, self._dim)
        return self._outward(self._rng.standard_normal(shape, dtype=np.float32))

    def _aimed(self, survey: CellSurvey, n: int) -> Floats:
        """Return up to n latents that aim at cells."""
        cells = self._targets
        if cells is None or n == 0 or self._aim.models.count == 0:
            return np.empty((0, self._dim), np.float32)
        self._flight = self._aim.fly(survey, cells, n, self._rng)
        return self._flight.points

    def _explore(self, survey: CellSurvey, n: int, way: int) -> Floats:
        """Return n latents from elites by chance, the most promising of several times as many."""
        if n == 0:
            return np.empty((0, self._dim), np.float32)
        factor = max(1, min(_CANDIDATES, _CANDIDATE_NUMBERS // (n * self._dim)))
        factor = factor if self._aim.models.count else 1
        size = (n * factor, self._dim)
        elites = self._elites(self._rng.integers(len(survey), size=size[0]))
        noise = self._rng.standard_normal(size, dtype=np.float32)
        if way == _LINE:
            others = self._elites(self._rng.integers(len(survey), size=size[0]))
            along = self._rng.standard_normal((size[0], 1), dtype=np.float32)
            iso, line = _LINE_SIGMAS
            points = elites + iso * noise + line * along * (others - elites)
        else:
            low, high = np.log(_WANDER_RANGE)
            share = np.exp(self._rng.uniform(low, high, (size[0], 1))).astype(np.float32)
            points = np.sqrt(1 - share**2) * elites + share * noise
        return self._sift(survey, shortened(points, self._max_norm), n)

    def _sift(self, survey: CellSurvey, points: Floats, n: int) -> Floats:
        """Keep n points, first those that the nearest models expect in empty cells."""
        if len(points) == n:
            return points
        rows = self._aim.models.nearest(points)
        _, positions = self._aim.models.predict(rows, points - self._aim.models.points[rows])
        empty = np.isinf(survey.cell_quality[survey.cells_at(positions)])
        order = np.argsort(~empty - 0.5 * self._rng.random(len(points)))
        return points[order[:n]]

    def _account(self, survey: CellSurvey, counts: tuple[int, ...], add_info: BatchData) -> None:
        """Credit each way with its new cells and improvements, and charge it its cost."""
        status = np.asarray(add_info["status"])
        raised = np.clip(np.asarray(add_info["value"]) / survey.scale, 0, 1)
        rewards = np.where(status == 2, 1, np.where(status == 1, self._improvement * raised, 0))
        ways = np.repeat(np.arange(_NUM_WAYS), counts)
        costs = np.asarray(counts, np.float64)
        costs[_AIM] += self._num_jacobians * self._jacobian_cost
        self._rewards = _DISCOUNT * self._rewards + np.bincount(ways, rewards, _NUM_WAYS)
        self._costs = _DISCOUNT * self._costs + costs

    def _elites(self, rows: NDArray[np.intp]) -> Floats:
        """Return elites of the survey in standard deviations from the mean."""
        assert self._survey is not None
        _, elites = self.archive.retrieve(self._survey.measures[rows])
        return self._inward(elites["solution"])

    def _inward(self, solutions: Floats) -> Floats:
        """Turn solutions into standard deviations from the mean."""
        points: Floats = ((solutions - self._mean) / self._std).astype(np.float32)
        return points

    def _outward(self, points: Floats) -> Floats:
        """Turn standard deviations from the mean into solutions."""
        solutions: Floats = (points * self._std + self._mean).astype(np.float32)
        return solutions
