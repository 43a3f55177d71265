"""Turn the name of an algorithm into pyribs archives and emitters."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from ribs.archives import GridArchive
from ribs.emitters import (
    EmitterBase,
    EvolutionStrategyEmitter,
    GradientArborescenceEmitter,
    IsoLineEmitter,
)
from ribs.schedulers import Scheduler

from qdgs_lightning.generators import Generator
from qdgs_lightning.search.calibration import Calibration
from qdgs_lightning.search.config import SearchConfig
from qdgs_lightning.search.emitters.prior import LatentPrior, Prior, PriorEmitter
from qdgs_lightning.search.emitters.screened import ScreenedEmitter
from qdgs_lightning.search.emitters.targeted import TargetedEmitter
from qdgs_lightning.search.persistence.packed_archive import PackedGridArchive

GRADIENT_ALGORITHMS = ("targeted", "cma_maega", "cma_mega")
ANNEALED_ALGORITHMS = ("cma_maega", "cma_mae")
LEARNING_ALGORITHMS = ("targeted", "screened")
# A full covariance matrix of a latent with thousands of coordinates takes minutes to decompose.
_MAX_FULL_COVARIANCE = 256


class Start(NamedTuple):
    """What the prior sample gives emitters to begin with.

    Attributes:
        latents: One flattened latent per emitter, shape ``[emitters, D]``.
        prior: Where latents lie in general.
    """

    latents: NDArray[np.float32]
    prior: LatentPrior

    @classmethod
    def anywhere(cls, config: SearchConfig, size: int) -> "Start":
        """Return a start for emitters that are to be brought into another state at once."""
        zeros = np.zeros((config.emitters, size), dtype=np.float32)
        scale = LatentPrior(mean=zeros[0], std=np.ones_like(zeros[0]), max_norm=1.0)
        return cls(zeros, scale)

    @classmethod
    def of(
        cls, sample: NDArray[np.float32], objective: NDArray[np.float32], config: SearchConfig
    ) -> "Start":
        """Choose from a prior sample of shape ``[n, D]``."""
        # The best first, as published; further emitters start anywhere, to differ from it.
        rng = np.random.default_rng(Seeds.of(config).starts)
        others = rng.integers(len(sample), size=config.emitters - 1)
        rows = np.concatenate([[objective.argmax()], others])
        return cls(sample[rows], LatentPrior.of(sample))


class Seeds(NamedTuple):
    """Independent sources of randomness, all drawn from the one seed of a search."""

    calibration: np.random.SeedSequence
    archive: np.random.SeedSequence
    result_archive: np.random.SeedSequence
    starts: np.random.SeedSequence
    emitters: tuple[np.random.SeedSequence, ...]
    memory: np.random.SeedSequence

    @classmethod
    def of(cls, config: SearchConfig) -> "Seeds":
        """Split the seed of a search."""
        # What is new goes last, so that earlier sources keep their values.
        first, second, third, fourth, *rest, last = np.random.SeedSequence(config.seed).spawn(
            5 + config.emitters
        )
        return cls(first, second, third, fourth, tuple(rest), last)


def as_int(seed: np.random.SeedSequence) -> int:
    """Return a seed for what takes whole numbers only."""
    return int(seed.generate_state(1, np.uint32)[0])


def make_scheduler(
    config: SearchConfig,
    calibration: Calibration,
    generator: Generator,
    start: Start,
) -> Scheduler:
    """Build archives and emitters.

    The result archive keeps the best latent of every cell. Where the algorithm anneals, emitters
    work on a second archive, whose thresholds may let a worse latent replace a better one.

    Args:
        config: What to build.
        calibration: Ranges and threshold.
        generator: Whose latents are searched.
        start: What emitters begin with.
    """
    seeds = Seeds.of(config)
    size = generator.latent_size
    archive = PackedGridArchive(
        solution_dim=size,
        grid=config.grid,
        ranges=calibration.ranges,
        seed=seeds.result_archive,
        floor=config.objective_min,
    )
    if config.algorithm not in ANNEALED_ALGORITHMS:
        return Scheduler(archive, _make_emitters(config, archive, generator, start, seeds))
    floor = -np.inf if config.objective_min is None else config.objective_min
    annealed = PackedGridArchive(
        solution_dim=size,
        grid=config.grid,
        ranges=calibration.ranges,
        seed=seeds.archive,
        learning_rate=config.archive_learning_rate,
        # Thresholds only rise, so that what an empty cell demands is a floor for all.
        threshold_min=max(calibration.threshold_min, floor),
    )
    emitters = _make_emitters(config, annealed, generator, start, seeds)
    return Scheduler(annealed, emitters, result_archive=archive)


def _make_emitters(
    config: SearchConfig,
    archive: GridArchive,
    generator: Generator,
    start: Start,
    seeds: Seeds,
) -> list[EmitterBase]:
    """Build as many emitters as the configuration asks for."""
    # What learns from evaluations works as one: several would know less each.
    number = 1 if config.algorithm in LEARNING_ALGORITHMS else config.emitters
    return [
        _make_emitter(config, archive, generator, start.prior, x0, as_int(seed))
        for x0, seed in zip(start.latents[:number], seeds.emitters[:number], strict=True)
    ]


def _make_emitter(
    config: SearchConfig,
    archive: GridArchive,
    generator: Generator,
    prior: LatentPrior,
    x0: NDArray[np.float32],
    seed: int,
) -> EmitterBase:
    """Build an emitter of the algorithm that the configuration names."""
    match config.algorithm:
        case "targeted":
            return TargetedEmitter(
                archive,
                x0=prior.mean,
                sigma0=prior.std,
                prior=Prior(generator),
                max_norm=prior.max_norm,
                batch_size=config.iteration_size,
                objective_min=config.objective_min,
                seed=seed,
            )
        case "screened":
            return ScreenedEmitter(
                archive,
                prior=Prior(generator),
                scale=prior,
                batch_size=config.iteration_size,
                objective_min=config.objective_min,
                seed=seed,
            )
        case "random":
            return PriorEmitter(
                archive, generator=generator, batch_size=config.batch_size, seed=seed
            )
        case "map_elites":
            return IsoLineEmitter(
                archive,
                x0=x0,
                iso_sigma=config.sigma,
                line_sigma=config.line_sigma,
                batch_size=config.batch_size,
                seed=seed,
            )
        case "cma_mae":
            return EvolutionStrategyEmitter(
                archive,
                x0=x0,
                sigma0=config.sigma,
                ranker="imp",
                restart_rule="basic",
                es="cma_es" if len(x0) <= _MAX_FULL_COVARIANCE else "sep_cma_es",
                batch_size=config.batch_size,
                seed=seed,
            )
        case _:
            annealed = config.algorithm == "cma_maega"
            return GradientArborescenceEmitter(
                archive,
                x0=x0,
                sigma0=config.sigma,
                lr=config.step_size,
                ranker="imp" if annealed else "2imp",
                restart_rule="basic" if annealed else "no_improvement",
                batch_size=config.batch_size - 1,  # one more is the point with gradients
                seed=seed,
            )
