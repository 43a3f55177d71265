"""What guidance must offer to a search: one objective and a few measures of an image."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Evaluation(NamedTuple):
    """What guidance says of n images.

    Attributes:
        objective: How good each image is; more is better. Shape ``[n]``.
        measures: Where each image lies in the space that a search should cover.
            Shape ``[n, number of measures]``.
    """

    objective: Tensor
    measures: Tensor


class Guidance(nn.Module, ABC):
    """Differentiable judgement of images, in the terms of quality-diversity search.

    Attributes:
        measure_names: A short name for each measure, for figures and tables.
    """

    measure_names: tuple[str, ...]

    def prepare(self) -> None:
        """Load models and encode prompts, once, before first use; further calls do nothing."""
        self.eval().requires_grad_(False)

    @abstractmethod
    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge images.

        Args:
            images: RGB in [0, 1], shape ``[n, 3, S, S]``.
            latents: What they were made from, shape ``[n, *latent_shape]``, for terms that look
                at the latent itself.

        Returns:
            An `Evaluation`, differentiable in both arguments; row i depends on row i alone.
        """

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Say in plain JSON types what is judged (prompts, model); archives carry it."""
