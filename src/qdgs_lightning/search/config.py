"""What to search for, how, and for how long per iteration."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from qdgs_lightning.errors import QDGSError

Algorithm = Literal[
    "targeted", "screened", "cma_maega", "cma_mega", "cma_mae", "map_elites", "random"
]


class SearchError(QDGSError):
    """A search that cannot be started or continued as it was asked for."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Everything that decides, with the generator and the guidance, what a search finds.

    Attributes:
        grid: Cells along each measure; one number per measure of the guidance.
        algorithm: How new latents are made.

            - ``targeted``: steps along the measures' gradients to empty and weak cells, see
              `TargetedEmitter`.
            - ``screened``: samples of the prior, those that a surrogate expects in empty and weak
              cells, see `ScreenedEmitter`. Its elites make the most varied training data.
            - ``cma_maega``, ``cma_mega``: gradient arborescence (Fontaine and Nikolaidis 2021,
              arXiv 2106.03894), with and without the annealed archive of CMA-MAE.
            - ``cma_mae``: an evolution strategy on the latents and an annealed archive (Fontaine
              and Nikolaidis 2023, arXiv 2205.10752).
            - ``map_elites``: Iso+LineDD variation of elites (Vassiliades and Mouret 2018, arXiv
              1804.03906).
            - ``random``: samples from the prior. Strong where latents have few dimensions: always
              compare with it.
        ranges: Lowest and highest value of each measure that the grid spans; what lies outside
            counts to the edge cells. None takes them from a sample of the prior, see `calibrate`.
        emitters: How many independent searchers share the archive; ``targeted`` and
            ``screened`` join them to one.
        batch_size: Latents per emitter and iteration, those with gradients included.
        sigma: Scale of random steps: standard deviation of the coefficients of normalised
            gradients (``cma_maega``, ``cma_mega``) or of the noise on a latent's coordinates
            (``cma_mae``, ``map_elites``). The others have no use for it.
        step_size: Learning rate of the Adam steps of ``cma_maega`` and ``cma_mega``.
        line_sigma: Scale of steps along the line between two elites (``map_elites``).
        archive_learning_rate: How fast the annealed archive of ``cma_maega`` and ``cma_mae``
            raises the objective that a cell demands, in (0, 1].
        threshold_min: What an empty cell of the annealed archive demands, at least
            `objective_min`. None takes a low quantile of the prior, see `calibrate`.
        objective_min: Latents with a lower objective are not archived, so that the search neither
            keeps nor builds on what nobody would use. None archives all.
        calibration: Prior samples that open every search. They are part of its budget and enter
            its archive.
        evaluation_batch_size: Latents per forward pass; changes speed and memory, and the last
            bits of results.
        seed: Seeds every random number of the search.

    Raises:
        SearchError: A value is out of its range, or `ranges` and `grid` differ in length.
    """

    grid: tuple[int, ...] = (50, 50)
    algorithm: Algorithm = "targeted"
    ranges: tuple[tuple[float, float], ...] | None = None
    emitters: int = 5
    batch_size: int = 36
    sigma: float = 0.5
    step_size: float = 0.5
    line_sigma: float = 0.2
    archive_learning_rate: float = 0.02
    threshold_min: float | None = None
    objective_min: float | None = None
    calibration: int = 512
    evaluation_batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.algorithm not in get_args(Algorithm):
            raise SearchError(
                f"search.algorithm is {self.algorithm!r}, which is none of "
                f"{', '.join(get_args(Algorithm))}; choose one of these."
            )
        if not self.grid or min(self.grid) < 1:
            raise SearchError(f"search.grid is {self.grid}; give a positive number per measure.")
        # A gradient emitter needs a latent to differentiate at, and another to make from it.
        for name, least in (("emitters", 1), ("batch_size", 2), ("calibration", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise SearchError(
                    f"search.{name} is {getattr(self, name)}; give a whole number of at least "
                    f"{least}."
                )
        if self.evaluation_batch_size < 1:
            raise SearchError(
                f"search.evaluation_batch_size is {self.evaluation_batch_size}; give at least 1."
            )
        for name in ("sigma", "step_size", "line_sigma"):
            if not 0 < getattr(self, name) < math.inf:
                raise SearchError(f"search.{name} is {getattr(self, name)}; give a number above 0.")
        if not 0 < self.archive_learning_rate <= 1:
            raise SearchError(
                f"search.archive_learning_rate is {self.archive_learning_rate}; give a number "
                "above 0 and at most 1."
            )
        if self.ranges is not None:
            self._check_ranges(self.ranges)

    @classmethod
    def published(cls, *, grid: tuple[int, ...], seed: int = 0) -> "SearchConfig":
        """Return the settings of the QDGS publication (Chang et al., AAAI-24), for comparison.

        One CMA-MAEGA emitter of four latents per iteration, one of them with gradients, starting
        from the best of 32 batches of 16 prior samples, over measures within 0.1 of zero.

        Args:
            grid: Cells along each measure.
            seed: Seeds every random number of the search.
        """
        return cls(
            grid=grid,
            algorithm="cma_maega",
            ranges=((-0.1, 0.1),) * len(grid),
            emitters=1,
            batch_size=4,
            sigma=0.5,
            step_size=0.5,
            archive_learning_rate=0.02,
            threshold_min=0.0,
            calibration=32 * 16,
            seed=seed,
        )

    @property
    def iteration_size(self) -> int:
        """Evaluations that one iteration spends, whatever the algorithm."""
        return self.emitters * self.batch_size

    def _check_ranges(self, ranges: tuple[tuple[float, float], ...]) -> None:
        """Raise unless there is one range of finite, increasing bounds per measure."""
        if len(ranges) != len(self.grid):
            raise SearchError(
                f"search.ranges holds {len(ranges)} ranges and search.grid {len(self.grid)} "
                "numbers of cells; give one of each per measure."
            )
        for low, high in ranges:
            if not -math.inf < low < high < math.inf:
                raise SearchError(
                    f"search.ranges holds ({low}, {high}); give a finite lower bound and a "
                    "finite, larger upper one."
                )
