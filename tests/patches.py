"""A generator of plain 128-pixel images with guidance that reads them, for tests of training."""

import math

import torch
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Evaluation, Guidance
from qdgs_lightning.sampling import MeasureBins

SHAPE_AND_COLOUR = [
    MeasureBins(measure=1, intervals=[(-math.inf, 0.0), (0.0, math.inf)], names=["left", "right"]),
    MeasureBins(measure=0, intervals=[(-math.inf, 0.0), (0.0, math.inf)], names=["dark", "light"]),
]


class PatchGenerator(Generator):
    """Two coordinates are the grey of an image's left and right half."""

    latent_shape = (2,)
    image_size = 128

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw normal latents."""
        return torch.randn(n, 2, generator=generator)

    def forward(self, latents: Tensor) -> Tensor:
        """Draw the two halves."""
        halves = (latents * self.scale).sigmoid().repeat_interleave(64, dim=1)
        return halves[:, None, None, :].expand(-1, 3, 128, -1)


class PatchGuidance(Guidance):
    """Measures the brightness around grey, and how much lighter the right half is."""

    measure_names = ("brightness", "slope")

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Read both measures off the images; nearly grey ones are best."""
        left, right = images[:, 0, 0, 0], images[:, 0, 0, -1]
        measures = torch.stack([left + right - 1, right - left], dim=1)
        return Evaluation(1 - latents.square().sum(1), measures)

    def describe(self) -> dict[str, object]:
        """Say so."""
        return {"patches": True}
