"""Measure the memory of a search in the latents of a face generator.

Run by hand:

    OMP_NUM_THREADS=1 python -m benchmarks.memory
"""

import resource
import sys

import torch
from jsonargparse import auto_cli
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Evaluation, Guidance
from qdgs_lightning.search import QDSearch, SearchConfig
from qdgs_lightning.search.config import Algorithm


class LatentImages(Generator):
    """Images of a few pixels that are coordinates of the latent: no network to fill memory."""

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        self.image_size = 4

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw from a standard normal distribution."""
        return torch.randn(n, *self.latent_shape, generator=generator)

    def forward(self, latents: Tensor) -> Tensor:
        """Squash means of blocks of coordinates."""
        size = self.latent_size // 48
        blocks = latents.flatten(1)[:, : 48 * size].reshape(-1, 3, 4, 4, size)
        return torch.sigmoid(blocks.mean(dim=-1) * size**0.5)


class PixelGuidance(Guidance):
    """Measures are pixels; the objective is the mean."""

    measure_names = ("a", "b", "c", "d")

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Read pixels."""
        pixels = images.flatten(1)
        return Evaluation(pixels.mean(1), pixels[:, :4])

    def describe(self) -> dict[str, object]:
        """Nothing to say."""
        return {}


def peak() -> float:
    """Return the largest resident set so far in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main(evaluations: int = 20_000, algorithm: Algorithm = "targeted") -> None:
    """Search and print the peak.

    Args:
        evaluations: Budget.
        algorithm: Which search.
    """
    torch.set_num_threads(1)
    before = peak()
    config = SearchConfig(grid=(50, 25, 5, 25), algorithm=algorithm)
    search = QDSearch(LatentImages((14, 512)), PixelGuidance(), config)
    search.run(evaluations)
    print(
        f"{algorithm}, {search.evaluations} evaluations, {search.stats.num_elites} elites of 7,168 "
        f"numbers: {peak() - before:.2f} GB above import (target <= 1.5 GB)"
    )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
