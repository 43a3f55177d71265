"""Faces of any size and place, brought to the squares that recognisers are trained on."""

import torch
import torch.nn.functional as F
from torch import Tensor

from qdgs_lightning.datasets.similarity import ARCFACE_POINTS, similarity
from qdgs_lightning.errors import QDGSError

_TEMPLATE_SIZE = 112


class AlignmentError(QDGSError):
    """Landmarks that fix no warp."""


def similarity_transform(source: Tensor, target: Tensor) -> Tensor:
    """Fit scale, rotation and shift in least squares, as Umeyama (1991) and scikit-image do.

    Args:
        source: Points ``[n, 2]``, x before y.
        target: Where they should go, ``[n, 2]``.

    Returns:
        The matrix that maps ``(x, y, 1)`` of the source to the target, float64, ``[2, 3]``.

    Raises:
        AlignmentError: The shapes differ, a number is not finite, or all points are one.
    """
    if source.shape != target.shape or source.dim() != 2 or source.shape[1] != 2:
        raise AlignmentError(
            f"Points have shapes {tuple(source.shape)} and {tuple(target.shape)}; give [n, 2] both."
        )
    if not (source.isfinite().all() and target.isfinite().all()):
        raise AlignmentError("A landmark is not finite; remove the image or mend its landmarks.")
    if len(torch.unique(source, dim=0)) < 2:
        raise AlignmentError(
            "All landmarks are at one place; remove the image or mend its landmarks."
        )
    a, b = similarity(source, target)
    return torch.tensor([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], dtype=torch.float64)


def align_face(image: Tensor, landmarks: Tensor, *, size: int = 112) -> Tensor:
    """Warp a face so that its landmarks come closest to the template of ArcFace.

    Each pixel is interpolated bilinearly between four of the image, and black outside, as by
    ``cv2.warpAffine`` in the tools of insightface; OpenCV rounds places to 1/32 pixel, so that the
    results differ by a few grey levels at sharp edges. Nothing is averaged where the face is much
    larger than the result: benchmarks have been made so, and embeddings are compared with theirs.

    Args:
        image: uint8, shape ``[3, H, W]``.
        landmarks: Left eye, right eye, nose, left and right corner of the mouth, as seen in the
            image: x and y in pixels from the centre of the first pixel, shape ``[5, 2]``.
        size: Side of the result.

    Returns:
        uint8, shape ``[3, size, size]``.

    Raises:
        AlignmentError: The landmarks are not five, not finite, or all at one place.

    Example:
        >>> align_face(image, torch.tensor([[30, 50], [75, 48], [55, 70], [38, 95], [70, 94]]))
    """
    template = torch.tensor(ARCFACE_POINTS, dtype=torch.float64) * (size / _TEMPLATE_SIZE)
    forth = similarity_transform(landmarks.double(), template)
    back = torch.linalg.inv(forth[:, :2])
    along = torch.arange(size, dtype=torch.float64)
    places = torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1)
    places = (places - forth[:, 2]) @ back.T
    # `grid_sample` counts from -1 to 1, here between the outer edges of the outer pixels.
    sides = torch.tensor([image.shape[2], image.shape[1]], dtype=torch.float64)
    grid = ((2 * places + 1) / sides - 1).float()
    warped = F.grid_sample(image[None].float(), grid[None], mode="bilinear", align_corners=False)
    return warped[0].round().clamp(0, 255).byte()
