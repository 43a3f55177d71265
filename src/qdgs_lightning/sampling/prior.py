"""The baseline that everybody has: draw from the generator's prior."""

from collections.abc import Sequence

import torch
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.sampling.base import Proposals, Quality, Sampler
from qdgs_lightning.sampling.bins import MeasureBins
from qdgs_lightning.sampling.errors import SamplingError
from qdgs_lightning.sampling.pool import Candidates
from qdgs_lightning.search.archive import Archive


class PriorSampler(Sampler):
    """Plain prior samples, as biased as the generator, labelled by the guidance.

    Args:
        bins: Bins along one measure each; their indices are the labels, in this order.
        evaluations: How many prior samples are evaluated.
        quality: Tests beside the label.
        max_repeats: How often one latent may appear in one pool.
        batch_size: Rows per evaluation chunk.

    Raises:
        SamplingError: A number is not positive or there are no bins.
    """

    def __init__(
        self,
        *,
        bins: list[MeasureBins],
        evaluations: int,
        quality: Quality | None = None,
        max_repeats: int = 8,
        batch_size: int = 64,
    ) -> None:
        super().__init__(bins=bins, quality=quality, max_repeats=max_repeats, batch_size=batch_size)
        if evaluations < 1:
            raise SamplingError(f"The sampler's evaluations must be positive, not {evaluations}.")
        self.evaluations = evaluations

    def propose(
        self, generator: Generator, *, archive: Archive | None, random: torch.Generator
    ) -> Proposals:
        """Draw `evaluations` latents from the prior; the archive is not looked at."""
        latents = generator.sample_latents(self.evaluations, random)
        return Proposals(latents=latents, cells=torch.zeros(self.evaluations, dtype=torch.int64))

    def describe(self) -> dict[str, object]:
        """Say in JSON types what decides the candidates."""
        return {**super().describe(), "evaluations": self.evaluations}

    def strata(self, candidates: Candidates) -> Sequence[Tensor]:
        """Draw evenly over latents alone, which keeps the prior's shares."""
        return ()
