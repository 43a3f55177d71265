"""Pairs of embeddings, some of which look more alike than others."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Case(NamedTuple):
    """How many pairs, how hard, and whether many distances are equal."""

    seed: int
    pairs: int
    noise: float
    ties: bool = False


CASES = (
    Case(0, 6000, 0.15),
    Case(1, 6000, 0.3),
    Case(2, 6000, 0.2, ties=True),
    Case(3, 6007, 0.25),
)

Floats = NDArray[np.float64]


def embedded_pairs(case: Case) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return unit vectors ``[n, 2]`` twice, and whether they are of one person, ``[n]``."""
    random = np.random.default_rng(case.seed)
    same = np.arange(case.pairs) // (case.pairs // 20) % 2 == 0
    close = random.normal(0.9, case.noise, case.pairs)
    angle = np.where(same, close, random.normal(1.5, case.noise, case.pairs))
    if case.ties:
        angle = angle.round(1)
    first = np.tile([1.0, 0.0], (case.pairs, 1))
    return first, np.stack([np.cos(angle), np.sin(angle)], axis=1), same
