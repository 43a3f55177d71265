"""Points of faces, and the maps that bring them where they should be."""

import torch
from torch import Tensor

# The template of ArcFace (insightface), for images of 112 pixels: left eye, right eye, nose, left
# and right corner of the mouth, as seen in the image; x and y from the centre of the first pixel.
ARCFACE_POINTS = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def similarity(source: Tensor, target: Tensor) -> tuple[complex, complex]:
    """Fit ``target = a source + b`` in least squares, with points of the plane as complex numbers.

    This is the similarity of Umeyama (1991), without reflections, in closed form.

    Args:
        source: Points ``[n, 2]``.
        target: Where they should go.

    Returns:
        a, which scales and turns, and b, which moves.
    """
    p, q = (torch.view_as_complex(points.double().contiguous()) for points in (source, target))
    centred = p - p.mean()
    a = (centred.conj() * (q - q.mean())).sum() / centred.abs().square().sum()
    return complex(a), complex(q.mean() - a * p.mean())
