"""Generators and guidance of a few numbers, whose values and gradients have a closed form."""

import torch
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Evaluation, Guidance


class ToyGenerator(Generator):
    """Images of 2 x 2 pixels that are the sigmoid of a linear map of the latent.

    Args:
        latent_shape: Shape of one latent.
        seed: Draws the map.
    """

    def __init__(self, latent_shape: tuple[int, ...] = (6,), seed: int = 0) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        self.image_size = 2
        weight = torch.randn(self.latent_size, 12, generator=torch.Generator().manual_seed(seed))
        self.weight = torch.nn.Parameter(weight / self.latent_size**0.5)

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw from a standard normal distribution."""
        return torch.randn(n, *self.latent_shape, generator=generator)

    def forward(self, latents: Tensor) -> Tensor:
        """Squash the map of the latents."""
        return (latents.flatten(1) @ self.weight).sigmoid().reshape(-1, 3, 2, 2)


class ToyGuidance(Guidance):
    """Measures are the mean red and green of an image; the objective prefers short latents.

    Args:
        measures: How many of the channels count as measures, 1 to 3.
        prompt: Goes into the description, and changes nothing else.
    """

    def __init__(self, measures: int = 2, prompt: str = "a toy") -> None:
        super().__init__()
        self.measure_names = ("red", "green", "blue")[:measures]
        self.prompt = prompt

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Average channels."""
        objective = 100 - latents.flatten(1).square().mean(dim=1)
        return Evaluation(objective, images.mean(dim=(2, 3))[:, : len(self.measure_names)])

    def describe(self) -> dict[str, object]:
        """Name the prompt and the measures."""
        return {"toy": self.prompt, "measures": self.measure_names}


class BrokenGenerator(ToyGenerator):
    """A generator whose images are NaN for latents with a positive first coordinate."""

    def forward(self, latents: Tensor) -> Tensor:
        """Draw, and break some."""
        images = super().forward(latents)
        broken = latents.flatten(1)[:, 0] > 0
        return images.masked_fill(broken[:, None, None, None], float("nan"))
