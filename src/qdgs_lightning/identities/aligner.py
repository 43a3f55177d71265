"""From the alignment of FFHQ to that of face recognition, by one fixed warp."""

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qdgs_lightning.datasets.similarity import ARCFACE_POINTS, similarity
from qdgs_lightning.generators.stylegan2.generator import StyleGAN2Generator
from qdgs_lightning.generators.stylegan2.network import StyleGAN2Error

# Where the landmarks of `ARCFACE_POINTS` are in the mean of FFHQ, for images of 512 pixels, as
# facexlib, GFPGAN and CodeFormer have it.
FFHQ_POINTS = (
    (192.98138, 239.94708),
    (318.90277, 240.19360),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)


class FaceAligner(nn.Module):
    """Crops FFHQ-aligned faces as recognisers want them, the same way for every image.

    The warp is the similarity that brings the mean landmarks of FFHQ closest, in least squares, to
    the template of ArcFace; they differ by 1.0 to 2.5 of 112 pixels afterwards (eyes, eyes, nose,
    mouth: 1.0, 1.0, 2.1, 2.4, 2.5), for the mean face of FFHQ has another shape than the template.
    Faces whose pose or expression is not the mean one are off by more than that: a detector per
    image would align them better, and costs far more than drawing the face.

    The map is linear in the pixels, so gradients pass. Several samples per pixel are averaged
    against aliasing.

    Args:
        size: Side of the crops.

    Raises:
        StyleGAN2Error: The size is not positive.

    Example:
        >>> aligner = FaceAligner.of(generator)  # a StyleGAN2Generator of FFHQ
        >>> aligner(generator(latents)).shape
        torch.Size([4, 3, 112, 112])
    """

    theta: Tensor

    def __init__(self, *, size: int = 112) -> None:
        super().__init__()
        if size < 1:
            raise StyleGAN2Error(f"size is {size}; give a positive number of pixels.")
        self.size = size
        theta = warp()[None]
        # How much of the image's side a crop covers; asking the device would wait for it.
        self._covered = float(theta[0, 0, 0])
        self.register_buffer("theta", theta, persistent=False)

    @classmethod
    def of(
        cls, generator: StyleGAN2Generator, *, size: int = 112, force: bool = False
    ) -> "FaceAligner":
        """Make an aligner for a generator whose images are aligned as FFHQ is.

        Args:
            generator: Prepared.
            size: Side of the crops.
            force: Take the user's word for the alignment; ``align: ffhq_unchecked`` in YAML.

        Raises:
            StyleGAN2Error: Neither the file's name nor the training set that it notes says FFHQ.
        """
        names = (generator.checkpoint.name, generator.trained_on or "")
        # Not FFHQ-U, which is unaligned.
        if not force and not any(re.search(r"ffhq(?!u)", name.lower()) for name in names):
            raise StyleGAN2Error(
                f"Nothing says that {generator.checkpoint} was trained on FFHQ, and faces that are "
                "aligned in another way would be cropped wrongly: set `data.init_args.align` to "
                "ffhq_unchecked (in Python, force=True) if its faces are aligned as those of FFHQ, "
                "and to none if they are not."
            )
        return cls(size=size)

    def forward(self, images: Tensor) -> Tensor:
        """Crop images ``[n, c, S, S]`` to ``[n, c, size, size]``; values keep their range."""
        samples = max(1, math.ceil(images.shape[-1] * self._covered / self.size))
        side = self.size * samples
        theta = self.theta.to(images.dtype).expand(len(images), -1, -1)
        grid = F.affine_grid(theta, [len(images), 1, side, side], align_corners=False)
        crops = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
        return F.avg_pool2d(crops, samples)


def warp() -> Tensor:
    """Return the matrix that `torch.nn.functional.affine_grid` takes for any size, ``[2, 3]``."""
    # Points as shares of the side, from -1 to 1, between the outer edges of the outer pixels.
    faces, template = (
        (2 * torch.tensor(points, dtype=torch.float64) + 1) / side - 1
        for points, side in ((FFHQ_POINTS, 512), (ARCFACE_POINTS, 112))
    )
    # The grid goes the other way: from places in the crop to places in the image.
    a, b = similarity(faces, template)
    a, b = 1 / a, -b / a
    return torch.tensor([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
