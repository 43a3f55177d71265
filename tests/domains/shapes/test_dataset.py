"""The biased dataset: exact shares, repeatable, honest about bad arguments."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.domains.shapes.dataset import BIASES, ShapesDataset, biased_labels


@pytest.mark.parametrize("bias", BIASES)
def test_published_versions_have_the_published_shares(bias: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes, colours = biased_labels(1000, bias=bias, generator=generator)
    rare = round(500 * (1 - bias))
    assert torch.bincount(2 * shapes + colours).tolist() == [500 - rare, rare, rare, 500 - rare]


@given(n=st.integers(1, 300), bias=st.floats(0, 1), seed=st.integers(0, 99))
def test_shares_are_as_exact_as_whole_images_allow(n: int, bias: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes, colours = biased_labels(n, bias=bias, generator=generator)
    for shape in range(2):
        of_shape = colours[shapes == shape]
        assert abs(float((of_shape == shape).sum()) - bias * len(of_shape)) <= 0.5 + 1e-4
    assert abs(int((shapes == 0).sum()) - n / 2) <= 0.5


def test_items_carry_image_shape_and_colour_that_belong_together() -> None:
    dataset = ShapesDataset(40, bias=0.5, seed=3)
    for image, shape, colour in (dataset[index] for index in range(len(dataset))):
        assert image.dtype == torch.uint8
        assert image.shape == (3, 128, 128)
        assert shape in (0, 1)
        # The darkest pixel lies inside the shape, where red is far below blue or above it.
        red, _, blue = image.flatten(1)[:, image.float().mean(0).argmin()].tolist()
        assert (red < blue) == bool(colour)


def test_a_seed_names_a_set() -> None:
    first, again, other = (ShapesDataset(8, bias=0.9, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("bias", [-0.1, 1.1])
def test_impossible_bias_is_refused(bias: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        ShapesDataset(4, bias=bias, seed=0)
