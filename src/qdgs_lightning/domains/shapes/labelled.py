"""Clean shapes among all that a generator gets wrong, with the truth about each image.

Judges of generated images (the small CLIP and the annotator) learn from these. Every image is of
one of the `KINDS`; only the first is a shape that a person would accept. Borderline cases, a
slightly rounded corner or a hint of noise, are drawn as clear, severe ones as junk, and the range
between is left out, since nobody could label it.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qdgs_lightning.domains.shapes.renderer import (
    RGB,
    edge_distances,
    paint,
    regular_edges,
    sample_poses,
)

NEITHER = 2
"""Shape index of an image that shows neither a triangle nor a square."""

MIXED = 2
"""Colour index of an image that is neither red nor blue alone."""


class AnnotatedImages(NamedTuple):
    """Images and what they show.

    Attributes:
        images: RGB in [0, 1], shape ``[n, 3, S, S]``.
        shapes: 0 triangle, 1 square, 2 neither, shape ``[n]``.
        colours: 0 red, 1 blue, 2 mixed or none, shape ``[n]``.
        kinds: Index into `KINDS`, shape ``[n]``.
    """

    images: Tensor
    shapes: Tensor
    colours: Tensor
    kinds: Tensor


def render_annotated(
    n: int, generator: torch.Generator, *, junk: float = 0.5, image_size: int = 128
) -> AnnotatedImages:
    """Draw unbiased clear shapes and made-up junk, in random order.

    Args:
        n: Number of images.
        generator: Source of all randomness.
        junk: Share of the images that are junk, evenly of each kind, in [0, 1].
        image_size: Side in pixels.

    Returns:
        The images with their labels.
    """
    weights = torch.full((len(KINDS),), junk / (len(KINDS) - 1))
    weights[0] = 1 - junk
    kinds = torch.multinomial(weights, n, replacement=True, generator=generator).sort().values
    parts = [
        draw(count, generator, image_size)
        for draw, count in zip(
            _DRAW, torch.bincount(kinds, minlength=len(KINDS)).tolist(), strict=True
        )
        if count
    ]
    order = torch.randperm(n, generator=generator)
    images, shapes, colours = (torch.cat(columns)[order] for columns in zip(*parts, strict=True))
    return AnnotatedImages(
        images=images.clamp_(0, 1), shapes=shapes, colours=colours, kinds=kinds[order]
    )


_Part = tuple[Tensor, Tensor, Tensor]


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw n numbers from [low, high)."""
    return low + (high - low) * torch.rand(n, generator=generator)


def _labels(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw shapes and colours independently of each other."""
    shapes, colours = torch.randint(2, (2, n), generator=generator)
    return shapes, colours


def _smooth_field(n: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw smooth noise of unit variance at its `cells` x `cells` nodes, shape ``[n, S, S]``."""
    coarse = torch.randn(n, 1, cells, cells, generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)[:, 0]


def _tint(colours: Tensor, generator: torch.Generator) -> Tensor:
    """Look up RGB with a slight error, as a generator makes it."""
    return RGB[colours] + 0.04 * torch.randn(len(colours), 3, generator=generator)


def _outline(shapes: Tensor, generator: torch.Generator, size: int, scale: float = 1.0) -> Tensor:
    """Draw distances to slightly imperfect triangles and squares, shape ``[n, S, S]``."""
    n = len(shapes)
    poses = sample_poses(n, generator)
    normals, inradii = regular_edges(shapes, poses)
    edges = normals.shape[1]
    # A triangle repeats its first edge, and the copy must move with it.
    wobble = torch.randn(2, n, edges, generator=generator)
    wobble[:, :, -1] = torch.where(shapes == 0, wobble[:, :, 0], wobble[:, :, -1])
    normals = normals + 0.03 * wobble[0]
    inradii = scale * inradii * (1 + 0.04 * wobble[1])
    return edge_distances(normals, inradii, poses.centre, size)


def _soften(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur and speckle images as little as a good generator does."""
    n, _, size, _ = images.shape
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = torch.lerp(images, blurred, torch.rand(n, 1, 1, 1, generator=generator))
    speckle = _uniform(n, 0, 0.04, generator)[:, None, None, None]
    return images + speckle * torch.randn(n, 3, size, size, generator=generator)


def _clear(n: int, generator: torch.Generator, size: int) -> _Part:
    """One triangle or square of one colour; outlines may waver by a pixel or so."""
    shapes, colours = _labels(n, generator)
    distance = _outline(shapes, generator, size)
    distance += _uniform(n, 0, 0.8, generator)[:, None, None] * _smooth_field(
        n, 12, size, generator
    )
    return _soften(paint(distance, _tint(colours, generator)), generator), shapes, colours


def _polygon(n: int, generator: torch.Generator, size: int) -> _Part:
    """Convex polygons between or beyond triangle and square: cut corners, oblongs, pentagons."""
    poses = sample_poses(n, generator)
    form = torch.randint(4, (n,), generator=generator)
    edges = 7
    turn = torch.arange(edges)
    normals = torch.zeros(n, edges)
    inradii = 0.45 * torch.ones(n, edges)
    # A triangle that lost one corner: a fourth edge opposite its first one.
    cut = _uniform(n, 0.7, 1.35, generator)
    fourth = turn == 3
    triangle = 2 * math.pi * (turn % 3) / 3
    normals = torch.where((form == 0)[:, None], triangle + fourth * (math.pi), normals)
    inradii = torch.where((form == 0)[:, None] & fourth, 0.45 * cut[:, None], inradii)
    # An oblong, from 3:2 on.
    aspect = _uniform(n, 1.25, 1.8, generator)
    square = 2 * math.pi * (turn % 4) / 4
    normals = torch.where((form == 1)[:, None], square.expand(n, -1), normals)
    stretched = torch.where(turn % 2 == 0, aspect[:, None], 1 / aspect[:, None])
    inradii = torch.where((form == 1)[:, None], 0.45 * stretched, inradii)
    # A pentagon, hexagon or heptagon.
    corners = torch.randint(5, 8, (n, 1), generator=generator)
    many = 2 * math.pi * (turn % corners) / corners
    normals = torch.where((form == 2)[:, None], many, normals)
    # A quadrilateral with two adjacent sides that lean.
    lean = _uniform(n, 0.22, 0.4, generator)[:, None] * torch.tensor([1.0, 0.0, 0.0, -1.0])
    leaning = square + lean[:, turn % 4]
    normals = torch.where((form == 3)[:, None], leaning, normals)
    distance = edge_distances(
        normals + poses.angle[:, None], inradii * poses.size[:, None], poses.centre, size
    )
    return _junk_in_one_colour(distance, generator)


def _junk_in_one_colour(distance: Tensor, generator: torch.Generator) -> _Part:
    """Paint outlines that are neither triangle nor square red or blue."""
    n = len(distance)
    _, colours = _labels(n, generator)
    images = _soften(paint(distance, _tint(colours, generator)), generator)
    return images, torch.full((n,), NEITHER), colours


def _blob(n: int, generator: torch.Generator, size: int) -> _Part:
    """Discs, and shapes whose outline has dissolved."""
    poses = sample_poses(n, generator)
    axis = (torch.arange(size) + 0.5) / size - 0.5
    x = axis - poses.centre[:, :1]
    y = axis - poses.centre[:, 1:]
    stretch = _uniform(n, 0.75, 1.33, generator)[:, None]
    disc = ((x * stretch).square()[:, None] + (y / stretch).square()[:, :, None]).sqrt()
    disc = size * (disc - poses.size[:, None, None] * math.pi**-0.5)
    shapes, _ = _labels(n, generator)
    torn = _outline(shapes, generator, size) + _uniform(n, 5, 12, generator)[
        :, None, None
    ] * _smooth_field(n, 7, size, generator)
    wobbly = disc + _uniform(n, 0, 5, generator)[:, None, None] * _smooth_field(
        n, 7, size, generator
    )
    return _junk_in_one_colour(
        torch.where(torch.rand(n, 1, 1, generator=generator) < 0.5, wobbly, torn), generator
    )


def _broken(n: int, generator: torch.Generator, size: int) -> _Part:
    """Shapes with a large bite or hole."""
    shapes, _ = _labels(n, generator)
    poses = sample_poses(n, generator)
    normals, inradii = regular_edges(shapes, poses)
    whole = edge_distances(normals, inradii, poses.centre, size)
    away = _uniform(n, 0, 2 * math.pi, generator)
    reach = poses.size * _uniform(n, 0, 0.5, generator)
    middle = poses.centre + reach[:, None] * torch.stack([away.cos(), away.sin()], dim=1)
    axis = (torch.arange(size) + 0.5) / size - 0.5
    radius = poses.size * _uniform(n, 0.2, 0.35, generator)
    bite = (axis - middle[:, :1]).square()[:, None] + (axis - middle[:, 1:]).square()[:, :, None]
    return _junk_in_one_colour(
        torch.maximum(whole, size * (radius[:, None, None] - bite.sqrt())), generator
    )


def _merged(n: int, generator: torch.Generator, size: int) -> _Part:
    """Two shapes that overlap or stand side by side."""
    firsts, colours = _labels(n, generator)
    seconds, others = _labels(n, generator)
    images = []
    away = _uniform(n, 0, 2 * math.pi, generator)
    reach = _uniform(n, 0.12, 0.22, generator)
    shift = reach[:, None] * torch.stack([away.cos(), away.sin()], dim=1)
    for shapes, side in ((firsts, -1), (seconds, 1)):
        poses = sample_poses(n, generator)
        normals, inradii = regular_edges(shapes, poses)
        centre = 0.3 * poses.centre + side * shift
        images.append(edge_distances(normals, 0.8 * inradii, centre, size))
    below = paint(images[0], _tint(colours, generator))
    coverage = (0.5 - images[1]).clamp(0, 1)[:, None]
    merged = torch.lerp(
        below, _tint(others, generator)[:, :, None, None].expand_as(below), coverage
    )
    return (
        _soften(merged, generator),
        torch.full((n,), NEITHER),
        torch.where(colours == others, colours, MIXED),
    )


def _mixed(n: int, generator: torch.Generator, size: int) -> _Part:
    """Clear shapes in both colours: a gradient, two halves, patches, or purple."""
    shapes, _ = _labels(n, generator)
    coverage = (0.5 - _outline(shapes, generator, size)).clamp(0, 1)[:, None]
    patches = _smooth_field(n, 4, size, generator)[:, None]
    # Centred and scaled within the shape, or one colour might miss it.
    inside = coverage / coverage.sum(dim=(2, 3), keepdim=True)
    patches = patches - (inside * patches).sum(dim=(2, 3), keepdim=True)
    spread = (inside * patches.square()).sum(dim=(2, 3), keepdim=True).sqrt()
    steep = _uniform(n, 1, 12, generator)[:, None, None, None]
    share = torch.sigmoid(steep * patches / spread)[:, 0]
    flat = _uniform(n, 0.3, 0.7, generator)[:, None, None]
    share = torch.where(torch.rand(n, 1, 1, generator=generator) < 0.25, flat, share)[:, None]
    red, blue = (_tint(torch.full((n,), index), generator)[:, :, None, None] for index in range(2))
    images = 1 + coverage * (red + share * (blue - red) - 1)
    return _soften(images, generator), shapes, torch.full((n,), MIXED)


def _nothing_recognisable(images: Tensor) -> _Part:
    """Label images that show neither shape nor one colour."""
    n = len(images)
    return images, torch.full((n,), NEITHER), torch.full((n,), MIXED)


def _splatter(n: int, generator: torch.Generator, size: int) -> _Part:
    """Spots of both colours all over the canvas."""
    cells = int(torch.randint(5, 14, (), generator=generator))
    spots = (
        _smooth_field(n, cells, size, generator) - _uniform(n, 0.0, 0.9, generator)[:, None, None]
    )
    coverage = (4 * spots).clamp(0, 1)[:, None]
    share = torch.sigmoid(8 * _smooth_field(n, cells, size, generator))[:, None]
    red, blue = RGB[:, None, :, None, None]
    return _nothing_recognisable(
        _soften(1 + coverage * (red + share * (blue - red) - 1), generator)
    )


def _empty(n: int, generator: torch.Generator, size: int) -> _Part:
    """White canvases, some with the ghost of a shape."""
    shapes, colours = _labels(n, generator)
    ghost = paint(_outline(shapes, generator, size), _tint(colours, generator))
    strength = _uniform(n, -0.15, 0.25, generator).clamp_(min=0)[:, None, None, None]
    return _nothing_recognisable(_soften(1 + strength * (ghost - 1), generator))


def _blurred(n: int, generator: torch.Generator, size: int) -> _Part:
    """Shapes out of focus until their corners are gone."""
    shapes, colours = _labels(n, generator)
    sharp = paint(_outline(shapes, generator, size, scale=0.9), _tint(colours, generator))
    coarse = F.adaptive_avg_pool2d(sharp, int(torch.randint(6, 11, (), generator=generator)))
    blurred = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return _soften(blurred, generator), torch.full((n,), NEITHER), colours


def _noisy(n: int, generator: torch.Generator, size: int) -> _Part:
    """Noise of some grain that has swallowed most of a shape."""
    shapes, colours = _labels(n, generator)
    below = paint(_outline(shapes, generator, size), _tint(colours, generator))
    cells = int(torch.tensor([16, 32, 64, 128])[torch.randint(4, (), generator=generator)])
    grain = torch.rand(n, 3, cells, cells, generator=generator)
    noise = F.interpolate(grain, size=(size, size), mode="nearest")
    strength = _uniform(n, 0.7, 1.0, generator)[:, None, None, None]
    return _nothing_recognisable(torch.lerp(below, noise, strength))


KINDS = (
    "clear",
    "polygon",
    "blob",
    "broken",
    "merged",
    "mixed",
    "splatter",
    "empty",
    "blurred",
    "noisy",
)
"""What an image may be; the index is its kind."""

_DRAW = (
    _clear,
    _polygon,
    _blob,
    _broken,
    _merged,
    _mixed,
    _splatter,
    _empty,
    _blurred,
    _noisy,
)
