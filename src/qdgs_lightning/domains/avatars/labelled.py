"""Clear avatars among what a generator gets wrong, with the truth about each image.

Judges of generated faces (the small CLIP and the reader) learn from these. Clear ones may be as
soft and as grainy as a good generator draws; junk is so bad that nobody would take it for a face in
order. The range between is left out, since nobody could label it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qdgs_lightning.domains.avatars.dataset import Population, attribute_labels
from qdgs_lightning.domains.avatars.renderer import render_avatars


class AnnotatedAvatars(NamedTuple):
    """Images and what they show.

    Attributes:
        images: RGB in [0, 1], shape ``[n, 3, S, S]``.
        labels: Class of each of `ATTRIBUTES`, of what was drawn before it was spoilt, shape
            ``[n, 4]``.
        kinds: Index into `KINDS`, shape ``[n]``.
    """

    images: Tensor
    labels: Tensor
    kinds: Tensor


def render_annotated_avatars(
    n: int,
    generator: torch.Generator,
    *,
    junk: float = 0.3,
    population: Population | None = None,
    image_size: int = 64,
) -> AnnotatedAvatars:
    """Draw clear avatars and made-up junk, in random order.

    Args:
        n: Number of images.
        generator: Source of all randomness.
        junk: Share of the images that are junk, evenly of each kind, in [0, 1].
        population: Who is drawn; all classes alike by default, as judges should learn.
        image_size: Side in pixels.
    """
    avatars = (population or Population.even()).sample(n, generator)
    images = render_avatars(avatars, image_size)
    weights = torch.full((len(KINDS),), junk / (len(KINDS) - 1))
    weights[0] = 1 - junk
    kinds = torch.multinomial(weights, n, replacement=True, generator=generator)
    for kind, spoil in enumerate(_SPOIL):
        rows = (kinds == kind).nonzero().squeeze(1)
        if len(rows):
            images[rows] = spoil(images[rows], generator)
    return AnnotatedAvatars(
        _soften(images, generator).clamp_(0, 1), attribute_labels(avatars), kinds
    )


def _uniform(images: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw one number per image, shape ``[n, 1, 1, 1]``."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)


def _field(n: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw pairs of smooth fields of unit variance at their nodes, shape ``[n, 2, S, S]``."""
    coarse = torch.randn(n, 2, cells, cells, generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)


def _resampled(images: Tensor, side: int) -> Tensor:
    """Make images of fewer pixels, and of as many as before again."""
    coarse = F.adaptive_avg_pool2d(images, side)
    return F.interpolate(coarse, images.shape[-2:], mode="bicubic", align_corners=False)


def _warped(images: Tensor, shift: Tensor) -> Tensor:
    """Move pixels by ``[n, 2, S, S]``, in units of half the side."""
    plain = torch.eye(2, 3).expand(len(images), -1, -1)
    grid = F.affine_grid(plain, list(images.shape), align_corners=False)
    grid = grid + shift.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _soften(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, bend and speckle images as little as a good generator does."""
    size = images.shape[-1]
    images = _warped(images, 0.006 * _field(len(images), 6, size, generator))
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = torch.lerp(images, blurred, _uniform(images, 0, 1, generator))
    tint = 0.02 * torch.randn(len(images), 3, 1, 1, generator=generator)
    grain = torch.randn(images.shape, generator=generator)
    return images + tint + _uniform(images, 0, 0.03, generator) * grain


def _clear(images: Tensor, generator: torch.Generator) -> Tensor:
    """Leave them as they are, some a little soft."""
    size = images.shape[-1]
    soft = _resampled(images, round(size * 0.62))
    return torch.where(_uniform(images, 0, 1, generator) < 0.4, soft, images)


def _blurred(images: Tensor, generator: torch.Generator) -> Tensor:
    """Out of focus until no eye or mouth can be told."""
    size = images.shape[-1]
    strong = _resampled(images, round(size * 0.11))
    return torch.lerp(
        _resampled(images, round(size * 0.17)), strong, _uniform(images, 0, 1, generator)
    )


def _noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of some grain that has swallowed most of the face."""
    size = images.shape[-1]
    cells = size >> int(torch.randint(3, (), generator=generator))
    grain = torch.rand(len(images), 3, cells, cells, generator=generator)
    noise = F.interpolate(grain, size=(size, size), mode="nearest")
    return torch.lerp(images, noise, _uniform(images, 0.45, 0.9, generator))


def _blended(images: Tensor, generator: torch.Generator) -> Tensor:
    """Two faces in one, displaced."""
    order = torch.randperm(len(images), generator=generator)
    away = 0.25 * torch.randn(len(images), 2, 1, 1, generator=generator)
    away = away + 0.15 * away.sign()
    size = images.shape[-1]
    other = _warped(images[order], away.expand(-1, -1, size, size))
    return torch.lerp(images, other, _uniform(images, 0.4, 0.6, generator))


def _discoloured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Green, blue or purple skin, or negatives."""
    order = torch.tensor([[1, 0, 2], [2, 1, 0], [2, 0, 1], [1, 2, 0]])
    chosen = order[torch.randint(len(order), (len(images),), generator=generator)]
    swapped = images.gather(1, chosen[:, :, None, None].expand_as(images))
    dyed = images * (0.15 + 1.6 * torch.eye(3)[chosen[:, 0]])[:, :, None, None]
    which = _uniform(images, 0, 1, generator)
    return torch.where(which < 0.5, swapped, torch.where(which < 0.8, dyed, 1 - images))


def _erased(images: Tensor, generator: torch.Generator) -> Tensor:
    """Faces without features, or hidden behind something."""
    n, _, size, _ = images.shape
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    inside = (axis[:, None] / 0.62 - 0.2).square() + (axis / 0.46).square()
    smooth = _resampled(images, max(2, size // 20))
    blank = torch.lerp(images, smooth, (4 * (1 - inside)).clamp(0, 1))
    middle = 0.25 * torch.randn(n, 2, 1, generator=generator)
    half = 0.35 + 0.3 * torch.rand(n, 2, 1, generator=generator)
    covered = ((axis - middle).abs() < half).float()
    cover = (covered[:, 0, None, :] * covered[:, 1, :, None])[:, None]
    colour = torch.rand(n, 3, 1, 1, generator=generator)
    hidden = torch.lerp(images, colour.expand_as(images), cover)
    return torch.where(_uniform(images, 0, 1, generator) < 0.5, blank, hidden)


def _scrambled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pieces in the wrong places."""
    n, channels, size, _ = images.shape
    pieces = 4
    side = size // pieces
    cut = images[:, :, : side * pieces, : side * pieces]
    tiles = cut.reshape(n, channels, pieces, side, pieces, side).permute(0, 2, 4, 1, 3, 5)
    order = torch.rand(n, pieces**2, generator=generator).argsort(1)
    moved = tiles.flatten(1, 2).gather(
        1, order[:, :, None, None, None].expand(-1, -1, channels, side, side)
    )
    whole = moved.reshape(n, pieces, pieces, channels, side, side).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[:, :, : side * pieces, : side * pieces] = whole.reshape(cut.shape)
    return result


def _distorted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Bent beyond what heads do."""
    strength = _uniform(images, 0.12, 0.25, generator)
    return _warped(images, strength * _field(len(images), 5, images.shape[-1], generator))


KINDS = (
    "clear",
    "blurred",
    "noisy",
    "blended",
    "discoloured",
    "erased",
    "scrambled",
    "distorted",
)
"""What an image may be; the index is its kind."""

_SPOIL: tuple[Callable[[Tensor, torch.Generator], Tensor], ...] = (
    _clear,
    _blurred,
    _noisy,
    _blended,
    _discoloured,
    _erased,
    _scrambled,
    _distorted,
)
