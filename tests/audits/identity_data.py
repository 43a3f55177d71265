"""A datamodule of synthetic identities whose images are noise of a few pixels, drawn at once."""

import time

import torch
from torch import Tensor

from qdgs_lightning.datamodules import SyntheticDataModule
from qdgs_lightning.generators import Generator
from qdgs_lightning.identities import IdentityTable
from qdgs_lightning.sampling import Sampler
from tests.toys import ToyGuidance

SIDE = 16


class NoiseGenerator(Generator):
    """Images of 16 x 16 pixels, each of which is the sigmoid of a linear map of the latent.

    Args:
        weights: Not loaded; goes into data cards.
        seed: Draws the map.
    """

    latent_shape = (6,)
    image_size = SIDE

    def __init__(self, weights: str = "noise-weights", seed: int = 0) -> None:
        super().__init__()
        self.weights = weights
        random = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn(6, 3 * SIDE**2, generator=random))

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw from a standard normal distribution."""
        return torch.randn(n, 6, generator=generator)

    def forward(self, latents: Tensor) -> Tensor:
        """Squash the map of the latents.

        In double precision, since rounded images must be the same in batches of every size.
        """
        images = (latents.double() @ self.weight.double()).sigmoid().float()
        return images.reshape(-1, 3, SIDE, SIDE)


class NoiseIdentities(SyntheticDataModule):
    """Pairs of latents of the same bin, each drawn as often as there are edits.

    Args:
        sampler: Chooses latents.
        step: Classes are 0, step, 2 step and so on.
        edits: How many images are drawn of a latent; each is a little further from it.
        strength: How much further.
        fails_at: The number of the call of `render` that fails; -1 for none.
        error: What it fails with: error or interrupt.
        pause: Seconds that a call takes.
        generator_seed: Of the generator.
        identities: How many at most.
    """

    def __init__(
        self,
        *,
        sampler: Sampler,
        step: int = 1,
        edits: int = 3,
        strength: float = 0.1,
        fails_at: int = -1,
        error: str = "error",
        pause: float = 0.0,
        generator_seed: int = 0,
        identities: int = 1000,
    ) -> None:
        super().__init__(
            generator=NoiseGenerator(seed=generator_seed),
            guidance=ToyGuidance(),
            sampler=sampler,
            samples_per_epoch=1,
            batch_size=1,
            seed=0,
        )
        self.step, self.edits, self.strength, self.most = step, edits, strength, identities
        self.fails_at, self.error, self.pause = fails_at, error, pause
        self.calls = 0
        self._table: IdentityTable | None = None

    def identities(self) -> IdentityTable:
        """Pair the candidates of each bin in their order."""
        if self._table is None:
            found = self.candidates()
            pairs = torch.cat(
                [
                    rows[: len(rows) // 2 * 2].reshape(-1, 2)
                    for index in range(len(found.bin_names))
                    for rows in [(found.bins == index).nonzero()[:, 0]]
                ]
            )
            # The identities of a bin do not follow each other, nor do the latents of an identity.
            mixed = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1))
            rows = pairs[mixed][: self.most].T.flatten()
            self._table = IdentityTable(
                latents=found.latents[rows],
                classes=torch.arange(len(rows) // 2).repeat(2) * self.step,
                bins=found.bins[rows],
                bin_names=found.bin_names,
            )
        return self._table

    @property
    def num_images(self) -> int:
        """Latents x edits."""
        return len(self.identities().latents) * self.edits

    def render(self, rows: Tensor) -> Tensor:
        """Draw images by their numbers."""
        if self.calls == self.fails_at:
            raise KeyboardInterrupt if self.error == "interrupt" else RuntimeError("broken")
        self.calls += 1
        time.sleep(self.pause)
        assert self.generator is not None
        latents = self.identities().latents[rows // self.edits]
        images: Tensor = self.generator(latents + self.strength * (rows % self.edits)[:, None])
        return images
