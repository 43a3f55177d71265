"""What emitters begin with, and what the screening one learns."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from ribs.archives import GridArchive
from ribs.schedulers import Scheduler

from qdgs_lightning.search import SearchConfig
from qdgs_lightning.search.calibration import Calibration
from qdgs_lightning.search.config import Algorithm
from qdgs_lightning.search.emitters.factory import Start, make_scheduler
from qdgs_lightning.search.emitters.prior import LatentPrior, Prior
from qdgs_lightning.search.emitters.screened import ScreenedEmitter
from tests.toys import ToyGenerator

Floats = NDArray[np.float32]
CONFIG = SearchConfig(grid=(12, 10), emitters=6, batch_size=7, seed=3)
CALIBRATION = Calibration(((-2.0, 2.0), (-2.0, 2.0)), 0.0)


def sample(n: int = 50) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    latents = rng.normal(3, 2, (n, 6)).astype(np.float32)
    return latents, rng.normal(size=n).astype(np.float32)


def test_the_first_emitter_begins_at_the_best_of_the_sample_and_others_anywhere() -> None:
    latents, objective = sample()
    start, other = (Start.of(latents, objective, replace(CONFIG, seed=seed)) for seed in (3, 4))
    assert start.latents.shape == (6, 6)
    np.testing.assert_array_equal(start.latents[0], latents[objective.argmax()])
    rows = {row.tobytes() for row in latents}
    assert {row.tobytes() for row in start.latents} <= rows
    assert len(np.unique(start.latents, axis=0)) > 3
    assert not np.array_equal(start.latents[1:], other.latents[1:])
    np.testing.assert_allclose(start.prior.mean, latents.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["random", "map_elites", "cma_mae", "cma_mega", "cma_maega"])
def test_every_emitter_has_a_start_and_randomness_of_its_own(algorithm: Algorithm) -> None:
    latents, objective = sample()
    config = replace(CONFIG, algorithm=algorithm)
    start = Start.of(latents, objective, config)
    # From one place, so that randomness alone tells emitters apart.
    together = start._replace(latents=np.repeat(start.latents[:1], 6, axis=0))
    for begun, apart in ((start, True), (together, False)):
        scheduler = make_scheduler(config, CALIBRATION, ToyGenerator((2, 3)), begun)
        archive = scheduler.result_archive
        archive.add(latents, objective, latents[:, :2])
        if not algorithm.endswith("ga"):
            asked = [emitter.ask() for emitter in scheduler.emitters]
            assert len({batch.tobytes() for batch in asked}) == 6
        elif apart:
            asked = [emitter.ask_dqd() for emitter in scheduler.emitters]
            np.testing.assert_array_equal(np.concatenate(asked), start.latents)


def screened() -> tuple[Scheduler, ScreenedEmitter]:
    archive = GridArchive(
        solution_dim=6, dims=[5, 4], ranges=[(-3, 3), (-3, 3)], dtype=np.float32, seed=0
    )
    prior = Prior(ToyGenerator((2, 3)))
    emitter = ScreenedEmitter(
        archive,
        prior=prior,
        scale=LatentPrior.of(prior(500, 0)),
        batch_size=12,
        seed=0,
    )
    return Scheduler(archive, [emitter]), emitter


def test_cells_that_screened_samples_do_not_enter_are_noted_as_tried_in_vain() -> None:
    scheduler, emitter = screened()
    first = scheduler.ask()
    scheduler.tell(np.ones(12), first[:, :2])
    assert emitter._tries.sum() == 0
    tries = np.zeros(20)
    for fails in (True, True, False):
        latents = scheduler.ask()
        assert emitter._expected is not None
        np.add.at(tries, emitter._expected, 1)
        before = emitter.archive.data("index").tolist()
        measures = latents[:, :2] if not fails else np.tile(first[:1, :2], (12, 1))
        scheduler.tell(np.full(12, -1.0 if fails else 1.0), measures)
        if not fails:
            new = sorted(set(emitter.archive.data("index").tolist()) - set(before))
            assert new
            tries[new] = 0
        np.testing.assert_array_equal(emitter._tries, tries)
    # All that came is learnt from: what the archive held at first, once, and each batch.
    assert emitter._exploration.surrogate.count == len(before) + 3 * 12
