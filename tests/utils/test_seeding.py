"""Streams of random numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.seeding import HELD_OUT, check_seed, seeded_generator

STREAM = st.tuples(st.integers(0, 2**40), st.integers(0, 64), st.integers(0, 1000))


@given(STREAM, STREAM)
def test_streams_are_equal_exactly_when_their_numbers_are(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    a = torch.randn(8, generator=seeded_generator(*one))
    b = torch.randn(8, generator=seeded_generator(*other))
    assert torch.equal(a, b) == (one == other)


def test_order_tells_streams_apart() -> None:
    names = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0), (3,), (0, 3), (3, 0)]
    drawn = {float(torch.rand((), generator=seeded_generator(*name))) for name in names}
    # Streams of as many numbers differ; those of more may not, where zeros are at their end.
    assert len(drawn) >= len(names) - 1


@pytest.mark.parametrize("seed", [-1, 2**30, HELD_OUT, 2**32])
def test_seeds_that_are_held_out_or_would_be_another_are_refused(seed: int) -> None:
    with pytest.raises(
        QDGSError, match=f"seed is {seed}; give a whole number from 0 to 1073741823"
    ):
        check_seed(seed)
    check_seed(2**30 - 1)


def test_held_out_seeds_are_no_others_to_torch() -> None:
    """On the CPU it forgets what is above 32 bits of a seed."""
    draws = [
        torch.randn(8, generator=torch.Generator().manual_seed(seed)).tolist()
        for seed in (0, 1, 2**30 - 1, HELD_OUT - 1, *range(HELD_OUT, HELD_OUT + 8))
    ]
    assert len({tuple(draw) for draw in draws}) == 12


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    torch.randn(8, generator=seeded_generator(3, 1))
    assert torch.equal(before, torch.get_rng_state())
