"""Searches that tests begin with."""

from dataclasses import replace
from typing import get_args

from qdgs_lightning.search import QDSearch, SearchConfig
from qdgs_lightning.search.config import Algorithm
from tests.toys import ToyGenerator, ToyGuidance

CONFIGS = {
    algorithm: SearchConfig(
        grid=(12, 10), algorithm=algorithm, emitters=3, batch_size=7, calibration=40, seed=1
    )
    for algorithm in get_args(Algorithm)
} | {
    "published": replace(
        SearchConfig.published(grid=(12, 10)),
        ranges=((0.0, 1.0), (0.0, 1.0)),  # of the toys, whose measures are shares
    ),
    "floor": SearchConfig(
        grid=(12, 10), emitters=3, batch_size=7, calibration=40, seed=1, objective_min=99.2
    ),
}


def begin(config: SearchConfig, iterations: int = 0) -> QDSearch:
    search = QDSearch(ToyGenerator((2, 3)), ToyGuidance(), config)
    if iterations:
        search.run(config.calibration + iterations * config.iteration_size)
    return search
