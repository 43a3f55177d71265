"""Independent streams of random numbers, each named by a few integers."""

import numpy as np
import torch

from qdgs_lightning.errors import QDGSError

HELD_OUT = 2**31
"""The first of the seeds that nobody can give: benchmarks and test sets are drawn by them.

`torch.Generator` keeps 32 bits of a seed on the CPU, so that 2^32 would be 0 again. In use are the
next ones: 0 and 1 by validation and test sets of shapes, 2 by the audit of shapes, 3 by the
confusion of the reader of avatars, 4 to 7 by the benchmarks of avatars.
"""


def check_seed(seed: int) -> None:
    """Refuse seeds that cannot name a stream of random numbers, or are held out.

    Raises:
        QDGSError: The seed lies outside [0, 2^30).
    """
    if not 0 <= seed < 2**30:  # twice the seed, and one more, is not held out either
        raise QDGSError(f"seed is {seed}; give a whole number from 0 to {2**30 - 1}.")


def seeded_generator(seed: int, *stream: int) -> torch.Generator:
    """Make the source of randomness for one purpose, rank and epoch.

    `lightning.seed_everything` gives every rank the same global stream; here streams of as many
    numbers that differ in any of them are independent, and equal ones are equal on every machine.
    A generator on the CPU has 2^32 streams: of n of them, n^2 / 2^33 pairs are expected to be the
    same one.

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
