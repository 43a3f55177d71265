"""Rendered shapes against an independent rasteriser and against geometry."""

import math

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from qdgs_lightning.domains.shapes.renderer import RGB, Poses, render_shapes, sample_poses


def _corners(shape: int, poses: Poses) -> np.ndarray:
    """Corners of the first pose in units of the side, from the area alone."""
    count = 3 + shape
    area = float(poses.size[0]) ** 2
    radius = math.sqrt(2 * area / (count * math.sin(2 * math.pi / count)))
    # Edge normals start at the angle, so corners lie half a turn between two of them.
    angles = float(poses.angle[0]) + np.pi / count + 2 * np.pi * np.arange(count) / count
    return poses.centre[0].numpy() + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _agg(corners: np.ndarray, rgb: tuple[float, ...], size: int) -> np.ndarray:
    """Draw a polygon with matplotlib's rasteriser, y downwards, as [3, size, size] in [0, 1]."""
    with mpl.rc_context({"path.snap": False}):
        figure = Figure(figsize=(1, 1), dpi=size)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.5, 0.5), ylim=(0.5, -0.5))
        axes.set_axis_off()
        axes.add_patch(Polygon(corners, facecolor=rgb, edgecolor="none"))
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return pixels[..., :3].transpose(2, 0, 1) / 255


@pytest.mark.parametrize("shape", [0, 1])
@pytest.mark.parametrize("colour", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_another_rasteriser(shape: int, colour: int, seed: int) -> None:
    poses = sample_poses(1, torch.Generator().manual_seed(seed))
    image = render_shapes(torch.tensor([shape]), torch.tensor([colour]), poses)[0].numpy()
    expected = _agg(_corners(shape, poses), tuple(RGB[colour].tolist()), 128)
    difference = np.abs(image - expected)
    assert difference.mean() < 2e-3
    # Only pixels on the outline may differ, where the two blend by slightly different rules.
    assert (difference.max(axis=0) > 0.05).mean() < 0.01


@given(seed=st.integers(0, 2**31), shape=st.integers(0, 1))
def test_area_is_the_pose_s_size_squared_and_lies_inside(seed: int, shape: int) -> None:
    poses = sample_poses(4, torch.Generator().manual_seed(seed))
    shapes = torch.full((4,), shape)
    images = render_shapes(shapes, torch.zeros(4, dtype=torch.int64), poses)
    # The green of red paint is far from white, so it measures coverage.
    coverage = (1 - images[:, 1]) / (1 - RGB[0, 1])
    assert coverage.mean(dim=(1, 2)).tolist() == pytest.approx(
        poses.size.square().tolist(), rel=0.02
    )
    border = torch.cat([coverage[:, 0], coverage[:, -1], coverage[:, :, 0], coverage[:, :, -1]])
    assert border.max() == 0


def test_pixels_inside_have_exactly_the_colour_and_outside_are_white() -> None:
    poses = sample_poses(2, torch.Generator().manual_seed(0))
    images = render_shapes(torch.tensor([0, 1]), torch.tensor([0, 1]), poses)
    assert (255 * images[0]).round().flatten(1).amin(1).tolist() == [216, 27, 96]
    assert (255 * images[1]).round().flatten(1).amin(1).tolist() == [30, 136, 229]
    assert images[:, :, 0, 0].eq(1).all()
