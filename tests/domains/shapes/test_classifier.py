"""The small shape classifier."""

import pytest
import torch

from qdgs_lightning.domains.shapes import ShapeClassifier


def test_has_the_published_convolutions() -> None:
    model = ShapeClassifier()
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.kernel_size, m.out_channels) for m in convolutions] == [
        ((3, 3), 16),
        ((3, 3), 32),
        ((3, 3), 64),
    ]
    # Images of 128 pixels come to 8 x 8 places; there is a logit for each of the two shapes.
    dense = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in dense] == [(64 * 8 * 8, 64), (64, 2)]
    assert model(torch.zeros(1, 3, 128, 128)).shape == (1, 2)


def test_normalises_its_own_input_and_treats_rows_alone() -> None:
    model = ShapeClassifier(num_classes=3, image_size=32)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = model(images)
    assert logits.shape == (4, 3)
    torch.testing.assert_close(model(images[2:3]), logits[2:3])
    # Grey is the middle of the range, and of what the layers see.
    torch.testing.assert_close(
        model(torch.full((1, 3, 32, 32), 0.5)), model.layers(torch.zeros(1, 3, 32, 32))
    )


@pytest.mark.parametrize("size", [-16, 0, 15, 100])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size={size} should be a positive multiple of 16"):
        ShapeClassifier(image_size=size)


def test_the_smallest_image_comes_to_one_place() -> None:
    assert ShapeClassifier(image_size=16)(torch.zeros(2, 3, 16, 16)).shape == (2, 2)
