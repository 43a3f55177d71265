"""Streams of random numbers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.sampling import seeded_generator

STREAM = st.tuples(st.integers(0, 2**40), st.integers(0, 64), st.integers(0, 1000))


@given(STREAM, STREAM)
def test_streams_are_equal_exactly_when_their_numbers_are(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    a = torch.randn(8, generator=seeded_generator(*one))
    b = torch.randn(8, generator=seeded_generator(*other))
    assert torch.equal(a, b) == (one == other)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    torch.randn(8, generator=seeded_generator(3, 1))
    assert torch.equal(before, torch.get_rng_state())
