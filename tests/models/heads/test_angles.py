"""A widened angle's cosine falls, or does beyond pi what was asked for."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.models.heads.angles import BeyondPi, add_angle

MARGINS = st.floats(0, math.pi)
FACTORS = st.floats(0.5, 4)


@given(MARGINS, FACTORS)
def test_linear_falls_everywhere(margin: float, factor: float) -> None:
    angles = torch.linspace(0.01, math.pi - 0.01, 500, dtype=torch.float64)
    values = add_angle(angles.cos(), margin, factor=factor)
    assert (values.diff() < 1e-9).all()
    within = factor * angles + margin < math.pi - 1e-9
    expected = (factor * angles + margin).cos()
    torch.testing.assert_close(values[within], expected[within], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("beyond_pi", "expected"),
    [
        ("linear", math.cos(3.0) - 0.5 * math.sin(math.pi - 0.5)),
        ("clip", -1.0),
        ("ignore", math.cos(3.5)),
    ],
)
def test_beyond_pi(beyond_pi: BeyondPi, expected: float) -> None:
    cosine = torch.tensor([math.cos(3.0)], dtype=torch.float64, requires_grad=True)
    value = add_angle(cosine, 0.5, beyond_pi=beyond_pi)
    assert float(value.detach()) == pytest.approx(expected, abs=1e-12)
    torch.autograd.backward(value.sum())
    assert cosine.grad is not None
    slope = {"linear": 1.0, "clip": 0.0, "ignore": math.sin(3.5) / math.sin(3.0)}
    assert float(cosine.grad) == pytest.approx(slope[beyond_pi], abs=1e-9)


@given(MARGINS, FACTORS, st.sampled_from(["linear", "clip", "ignore"]))
def test_gradients_are_finite_at_the_ends(
    margin: float, factor: float, beyond_pi: BeyondPi
) -> None:
    cosines = torch.tensor([1 - 1e-7, 1e-7 - 1], requires_grad=True)
    torch.autograd.backward(add_angle(cosines, margin, factor=factor, beyond_pi=beyond_pi).sum())
    assert cosines.grad is not None
    assert cosines.grad.isfinite().all()
