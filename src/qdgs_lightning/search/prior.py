"""Plain random search: the baseline that every comparison needs."""

import numpy as np
import torch
from numpy.typing import NDArray
from ribs.archives import ArchiveBase
from ribs.emitters import EmitterBase

from qdgs_lightning.generators import Generator


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
