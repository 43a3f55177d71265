"""Warps against scikit-image and OpenCV, whose results are in tests/data."""

import json
import math

import pytest
import torch
from torch import Tensor

from qdgs_lightning.datasets.alignment import (
    AlignmentError,
    align_face,
    similarity_transform,
)
from qdgs_lightning.datasets.similarity import ARCFACE_POINTS
from tests.datasets.pictures import BY_OTHERS, made

BY_SKIMAGE = json.loads((BY_OTHERS / "matrices_by_skimage.json").read_text())
TEMPLATE = torch.tensor(ARCFACE_POINTS, dtype=torch.float64)


def points(name: str) -> Tensor:
    return torch.tensor(BY_SKIMAGE[name]["landmarks"], dtype=torch.float64)


@pytest.mark.parametrize("name", BY_SKIMAGE)
def test_matrices_are_those_of_skimage(name: str) -> None:
    expected = torch.tensor(BY_SKIMAGE[name]["matrix"], dtype=torch.float64)
    torch.testing.assert_close(similarity_transform(points(name), TEMPLATE), expected)


def test_no_reflection_is_fitted() -> None:
    mirrored = TEMPLATE * torch.tensor([-1.0, 1.0])
    matrix = similarity_transform(mirrored, TEMPLATE)
    assert torch.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("name", BY_SKIMAGE)
def test_faces_are_those_of_opencv(name: str) -> None:
    ours, theirs = align_face(made("scene.jpg"), points(name)), made(f"{name}_by_opencv.png")
    assert ours.dtype == torch.uint8
    off = (ours.int() - theirs.int()).abs()
    # OpenCV takes the nearest of 32 places between two pixels.
    assert off.max() <= 5
    assert off.float().mean() < 0.1


def test_landmarks_on_the_template_change_nothing() -> None:
    image = torch.randint(0, 256, (3, 112, 112), generator=torch.Generator().manual_seed(0)).byte()
    assert torch.equal(align_face(image, TEMPLATE), image)


def test_outside_is_black_and_half_a_pixel_outside_half_black() -> None:
    image = torch.full((3, 112, 112), 200, dtype=torch.uint8)
    aligned = align_face(image, TEMPLATE - torch.tensor([10.5, 0.0]))
    assert (aligned[:, :, :10] == 0).all()
    assert (aligned[:, :, 10] == 100).all()
    assert (aligned[:, :, 11:] == 200).all()


def test_a_turned_face_is_turned_back() -> None:
    # A quarter turn moves pixels to pixels, so that nothing is interpolated.
    image = torch.randint(0, 256, (3, 112, 112), generator=torch.Generator().manual_seed(0)).byte()
    turned = torch.rot90(image, 1, dims=(1, 2))
    x, y = TEMPLATE.unbind(1)
    assert torch.equal(align_face(turned, torch.stack([y, 111 - x], dim=1)), image)


def test_another_size_scales_the_template() -> None:
    large = align_face(made("scene.jpg"), points("larger"), size=224)
    assert large.shape == (3, 224, 224)
    small = align_face(made("scene.jpg"), points("larger"))
    # Pixel (x, y) of the template is (2x, 2y) in the larger one.
    off = (large[:, ::2, ::2].int() - small.int()).abs()
    assert off.max() <= 1


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (torch.ones(5, 2), "at one place"),
        (torch.full((5, 2), math.nan), "not finite"),
        (torch.full((5, 2), math.inf), "not finite"),
        (TEMPLATE.index_fill(0, torch.tensor(3), math.nan), "not finite"),
        (TEMPLATE.index_fill(0, torch.tensor(0), -math.inf), "not finite"),
        (torch.rand(4, 2), r"shapes \(4, 2\) and \(5, 2\)"),
        (torch.rand(10), r"shapes \(10,\) and \(5, 2\)"),
    ],
)
def test_landmarks_that_fix_no_warp(landmarks: Tensor, message: str) -> None:
    with pytest.raises(AlignmentError, match=message):
        align_face(torch.zeros(3, 50, 50, dtype=torch.uint8), landmarks)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_landmarks_of_no_scale_of_faces_give_an_image(scale: float) -> None:
    image = torch.full((3, 50, 50), 7, dtype=torch.uint8)
    assert align_face(image, TEMPLATE * scale).shape == (3, 112, 112)
