"""What guidance must offer to a search: one objective and a few measures of an image."""

import math
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
        remembers: Whether `remember` does anything, so that a search need not make images for it.
        remember_above: An image is worth remembering if its objective is higher than this.
    """

    measure_names: tuple[str, ...]
    remembers: bool = False
    remember_above: float = -math.inf

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
            An `Evaluation`, differentiable in both arguments; row i depends on row i alone, and
            on what `remember` was told before. Judging images does not remember them.
        """

    def measure_ends(self) -> tuple[tuple[str, str] | None, ...]:
        """Describe the two ends of each measure, for labels of figures and messages.

        Returns:
            For each measure in words what low and what high values stand for, such as ``("A red
            shape.", "A blue shape.")``; None where no words say it, which is the default.
        """
        return (None,) * len(self.measure_names)

    def latent_measures(self, latents: Tensor) -> Tensor:
        """Return those measures that latents alone decide, of which there are none by default.

        They are part of what `forward` returns, too. A search takes their gradients from here, so
        that these cost no backward pass through models and generator.

        Args:
            latents: Shape ``[n, *latent_shape]``.

        Returns:
            The last j columns of the measures, shape ``[n, j]``, differentiable.
        """
        return latents.new_empty(len(latents), 0)

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Say in plain JSON types what is judged, by prompts, models and their weights.

        Called once it is prepared. Archives carry it, and only guidance of the same description
        continues their search.
        """

    def remember(self, images: Tensor) -> None:
        """Take note of images that a search has found good; does nothing by default.

        A search calls it between evaluations, with the same images on every rank. The memory is the
        search's own: it loads it when it begins to run, and an empty one when it ends.

        Args:
            images: RGB in [0, 1], shape ``[n, 3, S, S]``.
        """

    def memory_state(self) -> dict[str, Tensor]:
        """Return all that `remember` has changed, in CPU tensors; nothing by default."""
        return {}

    def load_memory_state(self, state: dict[str, Tensor]) -> None:
        """Remember exactly what `memory_state` returned, and nothing else.

        Args:
            state: From `memory_state`; empty to forget everything.
        """


class GuidanceWrapper(Guidance):
    """Guidance that lets another one judge, and makes something else of what it says.

    Args:
        guidance: The one that judges; preparing and remembering are left to it.
    """

    def __init__(self, guidance: Guidance) -> None:
        super().__init__()
        self.guidance = guidance
        self.remembers = guidance.remembers
        self.remember_above = guidance.remember_above

    def prepare(self) -> None:
        """Prepare what judges."""
        self.guidance.prepare()

    def remember(self, images: Tensor) -> None:
        """Let what judges remember images."""
        self.guidance.remember(images)

    def memory_state(self) -> dict[str, Tensor]:
        """Return the memory of what judges."""
        return self.guidance.memory_state()

    def load_memory_state(self, state: dict[str, Tensor]) -> None:
        """Replace the memory of what judges."""
        self.guidance.load_memory_state(state)
