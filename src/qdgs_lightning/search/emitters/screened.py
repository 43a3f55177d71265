"""Random search that looks before it leaps: a surrogate screens the prior."""

from typing import cast

import numpy as np
from numpy.typing import ArrayLike
from ribs.archives import GridArchive
from ribs.emitters import EmitterBase
from ribs.typing import BatchData

from qdgs_lightning.search.emitters.archive_snapshot import Cells, CellSurvey, Floats, grid_position
from qdgs_lightning.search.emitters.exploration import Exploration
from qdgs_lightning.search.emitters.prior import LatentPrior, Prior
from qdgs_lightning.search.emitters.surrogate import Surrogate


class ScreenedEmitter(EmitterBase):
    """Evaluates those samples of the prior that promise most for the archive.

    A sample costs little, its image and its evaluation cost much. Some thousand samples wait; a
    surrogate that has learnt from every evaluation so far says in which cell and how good each is
    expected to be, and those for empty or weak cells of regions with few elites are evaluated
    (surrogate-assisted illumination; Gaier et al. 2018, arXiv 1806.05865). Each iteration some
    fresh samples join.

    Every elite is a sample of the prior as it came: no step has moved it, so that elites of one
    region are as unlike each other as the generator can draw them. That makes better training
    data than `TargetedEmitter`, whose elites descend from few parents; where rarely sampled cells
    are to be filled at any price, that one reaches farther. No gradient is needed.

    Args:
        archive: An elitist grid archive, which may be shared.
        prior: Samples the prior.
        scale: Where the prior lies.
        batch_size: Latents per iteration.
        improvement: What raising an elite over the whole scale of quality is worth against filling
            an empty cell.
        objective_min: What the archive demands of any elite; None for nothing.
        seed: Seeds all choices.
    """

    def __init__(
        self,
        archive: GridArchive,
        *,
        prior: Prior,
        scale: LatentPrior,
        batch_size: int,
        improvement: float = 0.1,
        objective_min: float | None = None,
        seed: int,
    ) -> None:
        super().__init__(
            archive,
            solution_dim=archive.solution_dim,
            bounds=None,
            lower_bounds=None,
            upper_bounds=None,
        )
        self.batch_size = batch_size
        self._prior = prior
        self._scale = scale
        self._rng = np.random.default_rng(seed)
        self._exploration = Exploration(
            surrogate=Surrogate(
                dim=len(scale.mean), num_values=1 + int(archive.measure_dim), seed=seed
            ),
            max_norm=np.inf,
            improvement=improvement,
            objective_min=objective_min,
        )
        self._tries = np.zeros(int(archive.cells), np.float32)
        # Known only between an ask and its tell.
        self._survey: CellSurvey | None = None
        self._expected: Cells | None = None

    @property
    def archive(self) -> GridArchive:
        """Where latents go."""
        return cast(GridArchive, self._archive)

    def ask(self) -> Floats:
        """Return `batch_size` samples of the prior, shape ``[batch_size, D]``."""
        if self.archive.empty:
            return self._scale.outward(self._draw(self.batch_size))
        self._survey = survey = CellSurvey(self.archive)
        self._exploration.begin(
            survey, lambda rows: self._scale.inward(self.archive.data("solution")[rows])
        )
        points, self._expected = self._exploration.fresh(
            survey, self.batch_size, draw=self._draw, tries=self._tries, rng=self._rng
        )
        return self._scale.outward(points)

    def tell(
        self,
        solution: ArrayLike,
        objective: ArrayLike,
        measures: ArrayLike,
        add_info: BatchData,
        **fields: ArrayLike,
    ) -> None:
        """Learn from what the samples turned out to be."""
        if self._survey is None or self._expected is None:
            return
        at = grid_position(self.archive, np.asarray(measures, np.float32))
        points = self._scale.inward(np.asarray(solution, np.float32))
        self._exploration.learn(self._survey, points, np.asarray(objective, np.float32), at)
        np.add.at(self._tries, self._expected, 1)
        entered = np.asarray(add_info["status"]) > 0
        self._tries[self._survey.cells_at(at)[entered]] = 0
        self._survey = self._expected = None

    def _draw(self, n: int) -> Floats:
        """Draw n latents from the prior, in standard deviations."""
        return self._scale.inward(self._prior(n, int(self._rng.integers(2**31))))
