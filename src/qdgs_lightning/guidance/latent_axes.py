"""Guidance that also asks for variety in what no prompt names."""

import torch
from torch import Tensor

from qdgs_lightning.guidance.base import Evaluation, Guidance, GuidanceWrapper


class LatentAxes(GuidanceWrapper):
    """Adds random directions of the latent to the measures of another guidance.

    An archive keeps one image per cell. Where prompts measure colour and shape alone, it has no
    reason to hold more than a few of all sizes and places, and a classifier learns from near
    copies. With some directions of the latent as further measures, images that are alike for the
    prompts must differ in the rest. They cost no gradient of an image, and searches reach their
    cells exactly.

    Measure j beyond the guidance's own is the latent's coordinate along the j-th of a set of
    orthonormal directions that are drawn once; it has the scale of the prior.

    Args:
        guidance: What judges the images.
        axes: How many directions, at most the coordinates of a latent.
        seed: Draws them.

    Example:
        >>> guidance = LatentAxes(PromptGuidance(), axes=4)
        >>> guidance.measure_names
        ('red to blue', 'triangle to square', 'latent 1', 'latent 2', 'latent 3', 'latent 4')
    """

    def __init__(self, guidance: Guidance, *, axes: int, seed: int = 0) -> None:
        super().__init__(guidance)
        self.axes = axes
        self.seed = seed
        self.measure_names = guidance.measure_names + tuple(
            f"latent {axis + 1}" for axis in range(axes)
        )

    def measure_ends(self) -> tuple[tuple[str, str] | None, ...]:
        """Describe the guidance's own measures; a direction of the latent stands for nothing."""
        return self.guidance.measure_ends() + (None,) * self.axes

    def directions(self, size: int) -> Tensor:
        """Return the directions for latents of `size` coordinates, shape ``[size, axes]``."""
        random = torch.Generator().manual_seed(self.seed)
        directions, _ = torch.linalg.qr(torch.randn(size, self.axes, generator=random))
        return torch.as_tensor(directions)

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge images and read latents off; see `Guidance.forward`."""
        judged = self.guidance(images, latents)
        along = self._along(latents)
        return Evaluation(judged.objective, torch.cat([judged.measures, along], dim=1))

    def latent_measures(self, latents: Tensor) -> Tensor:
        """Read latents off; see `Guidance.latent_measures`."""
        inner = self.guidance.latent_measures(latents)
        return torch.cat([inner, self._along(latents)], dim=1)

    def _along(self, latents: Tensor) -> Tensor:
        """Return the coordinates of latents along the directions, shape ``[n, axes]``."""
        flat = latents.flatten(1)
        return flat @ self.directions(flat.shape[1]).to(flat)

    def describe(self) -> dict[str, object]:
        """Describe what judges, and the directions."""
        return {**self.guidance.describe(), "latent_axes": self.axes, "latent_seed": self.seed}
