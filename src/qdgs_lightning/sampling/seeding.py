"""Independent streams of random numbers, each named by a few integers."""

import numpy as np
import torch


def seeded_generator(seed: int, *stream: int) -> torch.Generator:
    """Make the source of randomness for one purpose, rank and epoch.

    `lightning.seed_everything` gives every rank the same global stream; here streams of as many
    numbers that differ in any of them are independent, and equal ones are equal on every machine.

    Args:
        seed: Seed of the whole run, from 0 to 2^32 - 1.
        *stream: Further numbers of that range that name the stream, such as rank and epoch.

    Returns:
        A CPU generator.

    Example:
        >>> a, b = seeded_generator(0, 0, 3), seeded_generator(0, 1, 3)
        >>> bool(torch.randn((), generator=a) == torch.randn((), generator=b))
        False
    """
    state = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
