"""The prior of latents, and plain random search: the baseline that every comparison needs."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from ribs.archives import ArchiveBase
from ribs.emitters import EmitterBase

from qdgs_lightning.generators import Generator

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LatentPrior:
    """Where latents lie that a generator was trained on.

    Attributes:
        mean: Of each coordinate, shape ``[D]``.
        std: Of each coordinate, shape ``[D]``, above 0.
        max_norm: Largest length of a latent, counted in standard deviations from the mean.
    """

    mean: Floats
    std: Floats
    max_norm: float

    @classmethod
    def of(cls, sample: Floats, *, quantile: float = 0.999) -> "LatentPrior":
        """Take the prior from samples of it.

        Args:
            sample: Shape ``[n, D]``.
            quantile: Share of the sample that `max_norm` lets pass.
        """
        mean, std = sample.mean(axis=0), sample.std(axis=0)
        std = np.where(std > 0, std, 1).astype(np.float32)
        norms = np.linalg.norm((sample - mean) / std, axis=1)
        return cls(
            mean=mean.astype(np.float32), std=std, max_norm=float(np.quantile(norms, quantile))
        )

    def inward(self, latents: Floats) -> Floats:
        """Turn latents into standard deviations from the mean, shape ``[n, D]``."""
        points: Floats = ((latents - self.mean) / self.std).astype(np.float32)
        return points

    def outward(self, points: Floats) -> Floats:
        """Turn standard deviations from the mean into latents, shape ``[n, D]``."""
        latents: Floats = (points * self.std + self.mean).astype(np.float32)
        return latents


class Prior:
    """Samples of a generator's prior by number and seed, flattened; it keeps no state.

    Args:
        generator: Whose prior to sample.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def __call__(self, n: int, seed: int) -> NDArray[np.float32]:
        """Draw n latents, flattened to ``[n, D]``."""
        latents = self._generator.sample_latents(n, torch.Generator().manual_seed(seed))
        return latents.flatten(1).numpy()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return nothing: the generator is kept elsewhere."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take nothing over."""


class PriorEmitter(EmitterBase):
    """Emits samples of a generator's prior, whatever the archive holds.

    Args:
        archive: Where the samples will go.
        generator: Whose prior to sample.
        batch_size: Samples per `ask`.
        seed: Seeds the samples.
    """

    def __init__(
        self, archive: ArchiveBase, *, generator: Generator, batch_size: int, seed: int
    ) -> None:
        super().__init__(
            archive,
            solution_dim=archive.solution_dim,
            bounds=None,
            lower_bounds=None,
            upper_bounds=None,
        )
        self.batch_size = batch_size
        self._generator = generator
        self._rng = torch.Generator().manual_seed(seed)

    def ask(self) -> NDArray[np.float32]:
        """Sample `batch_size` latents, flattened to ``[batch_size, D]``."""
        latents = self._generator.sample_latents(self.batch_size, self._rng)
        return latents.flatten(1).numpy()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state of the random numbers."""
        return {"rng": self._rng.get_state()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from the state of the random numbers."""
        self._rng.set_state(state["rng"])
