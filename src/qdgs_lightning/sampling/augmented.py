"""Judging an image together with altered copies of it, which ought to get the same label."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from qdgs_lightning.guidance import Evaluation, Guidance, GuidanceWrapper

Augmentation = Literal[
    "flip_horizontal", "flip_vertical", "rotate_90", "rotate_180", "rotate_270", "shift"
]
"""Alterations that leave the label of an image as it is."""

SHIFT = 1 / 16
"""How far `shift` moves an image down and to the right, as a part of its side."""


def augment(images: Tensor, how: Augmentation) -> Tensor:
    """Alter images ``[n, 3, S, S]`` without touching what they show."""
    match how:
        case "flip_horizontal":
            return images.flip(3)
        case "flip_vertical":
            return images.flip(2)
        case "rotate_90":
            return images.rot90(1, (2, 3))
        case "rotate_180":
            return images.rot90(2, (2, 3))
        case "rotate_270":
            return images.rot90(3, (2, 3))
        case "shift":
            side = images.shape[-1]
            pixels = max(1, round(side * SHIFT))
            # Repeating the border leaves no edge that would itself be a feature.
            padded = F.pad(images, (pixels, 0, pixels, 0), mode="replicate")
            return padded[..., :side, :side]


class AugmentedGuidance(GuidanceWrapper):
    """Guidance that reports the measures of the image first, then those of each altered copy.

    The objective is the lowest of theirs: what a search found because the judge errs on one view
    of an image seldom survives another.

    One generator evaluation serves them all, so that a check of agreement costs no images.

    Args:
        guidance: The judge.
        augmentations: The alterations, in the order of the measures.
    """

    def __init__(self, guidance: Guidance, augmentations: Sequence[Augmentation]) -> None:
        super().__init__(guidance)
        self.augmentations = tuple(augmentations)
        self.measure_names = guidance.measure_names + tuple(
            f"{name} after {how}" for how in self.augmentations for name in guidance.measure_names
        )

    def measure_ends(self) -> tuple[tuple[str, str] | None, ...]:
        """Repeat the judge's for each alteration, which changes no meaning."""
        return self.guidance.measure_ends() * (1 + len(self.augmentations))

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge ``[n, 3, S, S]``; see `Guidance.forward`."""
        views = [images, *(augment(images, how) for how in self.augmentations)]
        judged = [self.guidance(view, latents) for view in views]
        return Evaluation(
            torch.stack([evaluation.objective for evaluation in judged]).amin(dim=0),
            torch.cat([evaluation.measures for evaluation in judged], dim=1),
        )

    def describe(self) -> dict[str, object]:
        """Describe the judge and the alterations."""
        return {**self.guidance.describe(), "augmentations": list(self.augmentations)}
