"""The one way in which stored images are brought to a size, for training and for testing."""

import torch.nn.functional as F
from torch import Tensor

from qdgs_lightning.errors import QDGSError

RESIZING = "shorter side to the size by bilinear interpolation with antialiasing, middle kept"
"""Name of the method, for data cards and reports."""

_MAX_ASPECT = 4


class ResizingError(QDGSError):
    """An image from which no square can be cut."""


def fit_square(image: Tensor, size: int = 112) -> Tensor:
    """Resize the shorter side of an image and keep the middle of the longer one.

    Bilinear with antialiasing, as drawn images are resized: a network that trains on packed or
    drawn images of 32 pixels is tested on the same pixels. An image that has the size is returned
    as it is, so that benchmarks of 112 pixels stay what they are for a network of 112. insightface
    resizes others without antialiasing (``mx.image.resize_short``), which shows patterns that the
    training images do not have.

    Args:
        image: uint8, shape ``[3, H, W]``.
        size: Side of the result in pixels.

    Returns:
        uint8, shape ``[3, size, size]``.

    Raises:
        ResizingError: One side has more than four times the length of the other.
    """
    height, width = image.shape[1:]
    if (height, width) == (size, size):
        return image
    short = min(height, width)
    if max(height, width) > _MAX_ASPECT * short:
        raise ResizingError(f"{width} x {height} pixels are no face; remove or crop the image.")
    sides = (size * height // short, size * width // short)
    if sides != (height, width):
        resized = F.interpolate(image[None].float(), sides, mode="bilinear", antialias=True)
        image = resized[0].round().clamp(0, 255).byte()
    top, left = (sides[0] - size) // 2, (sides[1] - size) // 2
    return image[:, top : top + size, left : left + size].contiguous()
