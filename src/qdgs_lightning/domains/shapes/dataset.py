"""Red and blue triangles and squares, with as much colour bias as asked for."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.domains.shapes.renderer import render_shapes, sample_poses
from qdgs_lightning.errors import QDGSError

BIASES = (0.98, 0.95, 0.90, 0.85, 0.80)
"""The versions of the training set in Chang et al. (AAAI-24)."""


class ShapesDataset(Dataset[tuple[Tensor, int, int]]):
    """A fixed set of rendered shapes, half of them triangles.

    A share `bias` of the triangles is red and the same share of the squares is blue, as exactly as
    whole images allow. At 0.5 colour says nothing about shape.

    Args:
        size: Number of images.
        bias: Share of the majority colour within each shape, in [0, 1].
        seed: Names the set: equal arguments give equal images.
        image_size: Side of the images in pixels.

    Raises:
        QDGSError: `bias` lies outside [0, 1] or `size` is not positive.

    Example:
        >>> image, shape, colour = ShapesDataset(1000, bias=0.98, seed=0)[0]
        >>> image.shape, image.dtype
        (torch.Size([3, 128, 128]), torch.uint8)
    """

    def __init__(self, size: int, *, bias: float, seed: int, image_size: int = 128) -> None:
        if size < 1:
            raise QDGSError(f"A shapes dataset needs at least one image, not size={size}.")
        generator = torch.Generator().manual_seed(seed)
        self.shapes, self.colours = biased_labels(size, bias=bias, generator=generator)
        self.images = torch.empty(size, 3, image_size, image_size, dtype=torch.uint8)
        for first in range(0, size, 256):
            rows = slice(first, min(first + 256, size))
            poses = sample_poses(rows.stop - first, generator)
            images = render_shapes(self.shapes[rows], self.colours[rows], poses, image_size)
            self.images[rows] = images.mul_(255).round_().to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """Return the uint8 RGB image ``[3, S, S]``, its shape and its colour."""
        return self.images[index], int(self.shapes[index]), int(self.colours[index])


def check_bias(bias: float) -> None:
    """Refuse what is no share.

    Raises:
        QDGSError: `bias` lies outside [0, 1].
    """
    if not 0 <= bias <= 1:
        raise QDGSError(f"The colour bias is a share and lies in [0, 1], not {bias}.")


def biased_labels(n: int, *, bias: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose shapes and colours of which a share `bias` is red triangles and blue squares.

    Args:
        n: Number of labels; triangles get the larger half.
        bias: Share of the majority colour within each shape, in [0, 1].
        generator: Source of the order.

    Returns:
        Indices into `SHAPES` and `COLOURS`, each of shape ``[n]``, in random order.

    Raises:
        QDGSError: `bias` lies outside [0, 1].
    """
    check_bias(bias)
    order = torch.arange(n)
    shapes = order % 2
    rank = order // 2
    of_shape = torch.bincount(shapes, minlength=2)[shapes]
    majority = rank < (bias * of_shape).round()
    # The majority colour of a shape has the shape's own index: triangles red, squares blue.
    colours = torch.where(majority, shapes, 1 - shapes)
    shuffled = torch.randperm(n, generator=generator)
    return shapes[shuffled], colours[shuffled]
