"""Vectorised, anti-aliased drawing of convex polygons, the raw material of the shapes domain.

A convex polygon is the set where every one of its edges' signed distances is negative; the largest
of them is the distance to the outline, and half a pixel on either side of it is blended. All
images of a batch are drawn at once, and an outer sum of a row and a column gives each edge's
distances, so that a core draws thousands of 128-pixel images a second.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SHAPES = ("triangle", "square")
COLOURS = ("red", "blue")
GROUPS = ("red triangle", "blue triangle", "red square", "blue square")
"""Names of the shape-colour groups; the index is ``2 * shape + colour``."""

RGB = torch.tensor([[216.0, 27.0, 96.0], [30.0, 136.0, 229.0]]) / 255.0
"""The two colours, in the order of `COLOURS`, in [0, 1]."""

EDGES = 4
"""Edges per polygon; a triangle has its first edge twice."""


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Where and how large the shapes lie, in units of the image's side.

    Attributes:
        angle: Rotation in radians, shape ``[n]``.
        size: Square root of the area, so that no class is the larger one, shape ``[n]``.
        centre: x and y from the middle of the image, shape ``[n, 2]``.
    """

    angle: Tensor
    size: Tensor
    centre: Tensor


def sample_poses(n: int, generator: torch.Generator) -> Poses:
    """Draw poses that keep every shape inside the image.

    Sizes are uniform in [0.25, 0.4], rotations over the circle, offsets up to 0.1 along each axis.
    """
    uniform = torch.rand(n, 4, generator=generator)
    return Poses(
        angle=2 * math.pi * uniform[:, 0],
        size=0.25 + 0.15 * uniform[:, 1],
        centre=0.2 * (uniform[:, 2:] - 0.5),
    )


def regular_edges(shapes: Tensor, poses: Poses) -> tuple[Tensor, Tensor]:
    """Describe regular triangles and squares by their edges.

    Args:
        shapes: Index into `SHAPES`, shape ``[n]``.
        poses: Their poses.

    Returns:
        Direction of each edge's outward normal in radians and its distance from the centre in
        units of the image's side, both of shape ``[n, EDGES]``.
    """
    corners = torch.where(shapes == 0, 3, 4).unsqueeze(1)
    turns = torch.arange(EDGES) % corners / corners
    # Area of a regular polygon by its inradius r: 3 sqrt(3) r^2 for a triangle, 4 r^2 for a square.
    inradius = poses.size * torch.where(shapes == 0, (3 * math.sqrt(3)) ** -0.5, 0.5)
    return poses.angle.unsqueeze(1) + 2 * math.pi * turns, inradius.unsqueeze(1).expand(-1, EDGES)


def edge_distances(normals: Tensor, inradii: Tensor, centre: Tensor, image_size: int) -> Tensor:
    """Signed distance of every pixel to the outline of convex polygons.

    Args:
        normals: Outward normal of each edge in radians, shape ``[n, edges]``.
        inradii: Distance of each edge from the centre, shape ``[n, edges]``.
        centre: x and y of the polygons' centres from the image's middle, shape ``[n, 2]``.
        image_size: Side of the image in pixels.

    Returns:
        Distances in pixels, negative inside, shape ``[n, image_size, image_size]``; exact near
        the edges, a lower bound outside the corners.
    """
    axis = torch.arange(image_size) + 0.5 - image_size / 2
    x = axis - image_size * centre[:, :1]
    y = axis - image_size * centre[:, 1:]
    distance: Tensor | None = None
    for edge in range(normals.shape[1]):
        along_x = torch.cos(normals[:, edge, None]) * x - image_size * inradii[:, edge, None]
        along_y = torch.sin(normals[:, edge, None]) * y
        to_edge = along_y.unsqueeze(2) + along_x.unsqueeze(1)
        distance = to_edge if distance is None else torch.maximum(distance, to_edge, out=distance)
    if distance is None:
        raise ValueError("A polygon needs at least one edge; normals has none.")
    return distance


def paint(distance: Tensor, rgb: Tensor) -> Tensor:
    """Fill the inside of outlines with a colour on white.

    Args:
        distance: Signed distances in pixels, shape ``[n, S, S]``; overwritten.
        rgb: Colours in [0, 1], shape ``[n, 3]``.

    Returns:
        RGB images in [0, 1], shape ``[n, 3, S, S]``.
    """
    coverage = distance.neg_().add_(0.5).clamp_(0, 1).unsqueeze(1)
    return torch.addcmul(torch.ones(()), coverage, (rgb - 1)[:, :, None, None])


def render_shapes(shapes: Tensor, colours: Tensor, poses: Poses, image_size: int = 128) -> Tensor:
    """Draw triangles and squares on white.

    Args:
        shapes: Index into `SHAPES`, shape ``[n]``.
        colours: Index into `COLOURS`, shape ``[n]``.
        poses: Their poses, n of them.
        image_size: Side in pixels.

    Returns:
        RGB images in [0, 1], shape ``[n, 3, image_size, image_size]``.

    Example:
        >>> poses = sample_poses(2, torch.Generator().manual_seed(0))
        >>> render_shapes(torch.tensor([0, 1]), torch.tensor([1, 0]), poses).shape
        torch.Size([2, 3, 128, 128])
    """
    normals, inradii = regular_edges(shapes, poses)
    return paint(edge_distances(normals, inradii, poses.centre, image_size), RGB[colours])
