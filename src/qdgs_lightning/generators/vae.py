"""The small variational autoencoder that Chang et al. (AAAI-24) searched for shapes."""

from pathlib import Path

import torch
from torch import Tensor, nn

from qdgs_lightning.generators.base import Generator
from qdgs_lightning.weights.files import load_weights, read_config, save_weights


class VAEDecoder(nn.Sequential):
    """Latents ``[n, latent_size]`` to RGB ``[n, 3, 128, 128]`` by three doublings."""

    def __init__(self, latent_size: int) -> None:
        super().__init__(
            nn.Linear(latent_size, 32 * 16 * 16),
            nn.ReLU(),
            nn.Unflatten(1, (32, 16, 16)),
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )


class VAEGenerator(Generator):
    """The decoder of a variational autoencoder, kept for comparison: it blurs.

    Args:
        weights: A path from ``qdgs fit --config configs/shapes_vae.yaml``, which says the latent
            size; ``None`` for random weights.
        latent_size: Coordinates of a latent when there are no weights to say it.

    Raises:
        WeightsError: From the constructor or `prepare`: no such weights, or damaged ones.
    """

    image_size = 128

    def __init__(self, weights: str | None = None, latent_size: int = 6) -> None:
        super().__init__()
        if weights is not None:
            latent_size = int(read_config(weights, {"latent_size"})["latent_size"])
        self.weights = weights
        self.latent_shape = (latent_size,)
        self.decoder = VAEDecoder(latent_size)
        self._loaded = weights is None

    def prepare(self) -> None:
        """Load the weights, once."""
        if not self._loaded and self.weights is not None:
            load_weights(self, self.weights)
            self._loaded = True
        super().prepare()

    def save(self, path: Path) -> None:
        """Write weights and latent size to a ``.safetensors`` file."""
        save_weights(self, path, {"latent_size": self.latent_size})

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw standard normal latents; see `Generator.sample_latents`."""
        return torch.randn(n, *self.latent_shape, generator=generator)

    def forward(self, latents: Tensor) -> Tensor:
        """Draw images; see `Generator.forward`."""
        return torch.as_tensor(self.decoder(latents))
