"""Weights and images by formula, the same in the networks of others and in ours."""

import math
from collections.abc import Mapping
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def filled(name: str, shape: tuple[int, ...]) -> Floats:
    """Return numbers that depend on a weight's name and shape only.

    Sums keep their size, variances are positive, and slopes of PReLU are far from 1.
    """
    seed = int.from_bytes(sha256(name.encode()).digest()[:4], "little")
    # The old generator, whose stream numpy promises never to change: mean 0 and deviation 1.
    data = np.random.RandomState(seed).bytes(2 * math.prod(shape))
    numbers = np.frombuffer(data, "<i2").astype(np.float32).reshape(shape)
    numbers *= math.sqrt(3) / 2**15
    if name.endswith("running_var"):
        numbers = np.abs(numbers) * np.float32(0.25) + np.float32(0.75)
    elif name.endswith(("running_mean", "bias")):
        numbers *= 0.1
    elif len(shape) == 1:
        numbers = numbers * np.float32(0.3) + np.float32(0.8)
    else:
        numbers /= math.sqrt(math.prod(shape[1:]))
    return numbers


def filled_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    """Return numbers for the weights of a network, without counts of batches."""
    return {name: filled(name, shape) for name, shape in shapes.items() if shape}


def pictures(size: int = 112) -> Floats:
    """Return two RGB pictures in [0, 1] that look different in every direction and colour."""
    rows, columns = np.mgrid[:size, :size] / size
    waves = [
        [
            np.sin(3 + 7 * rows + 2 * columns),
            np.cos(5 * rows * columns),
            rows * (1 - columns) - 0.3,
        ],
        [np.cos(9 * columns - 4 * rows), columns - 0.5, np.sin(11 * rows) * columns],
    ]
    return np.clip(0.5 + 0.5 * np.array(waves), 0, 1).astype(np.float32)


def fingerprint(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return a hash of names, shapes and their order."""
    lines = [f"{name} {list(shape)}" for name, shape in shapes.items()]
    return sha256("\n".join(lines).encode()).hexdigest()
