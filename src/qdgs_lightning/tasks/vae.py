"""Training of the published variational autoencoder on shapes."""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from qdgs_lightning.generators.vae import VAEGenerator
from qdgs_lightning.tasks.seeding import step_generator
from qdgs_lightning.utils.seeding import check_seed


class VAETraining(L.LightningModule):
    """Trains a `VAEGenerator` by the evidence lower bound (Kingma and Welling, 2014).

    The loss per image is half the squared error summed over pixels plus the divergence of the
    posterior from the prior, in nats.

    Args:
        latent_size: Coordinates of a latent.
        optimizer: Makes the optimizer from the parameters.
        seed: Of the posterior's noise, from 0 to 2^30 - 1.
    """

    def __init__(
        self, *, latent_size: int = 6, optimizer: OptimizerCallable = Adam, seed: int = 0
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        check_seed(seed)
        self.seed = seed
        self.generator = VAEGenerator(latent_size=latent_size)
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 16 * 16, 2 * latent_size),
        )

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss on images ``[n, 3, 128, 128]``."""
        random = step_generator(self, self.seed, batch_idx)
        mean, log_variance = self.encoder(batch).chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=random, device=self.device)
        images = self.generator(mean + (log_variance / 2).exp() * noise)
        error = (images - batch).square().sum() / 2
        divergence = (log_variance.exp() + mean.square() - 1 - log_variance).sum() / 2
        loss = (error + divergence) / len(batch)
        self.log_dict({"train/loss": loss, "train/kl": divergence / len(batch)}, prog_bar=True)
        return torch.as_tensor(loss)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the mean absolute error of reconstructed pixels."""
        mean = self.encoder(batch).chunk(2, dim=1)[0]
        error = (self.generator(mean) - batch).abs().mean()
        self.log("val/reconstruction", error, sync_dist=True, prog_bar=True)

    def export(self, path: Path) -> None:
        """Write the decoder's weights; see `ExportWeights`."""
        self.generator.save(path)

    def configure_optimizers(self) -> Optimizer:
        """Build what was injected."""
        return self.optimizer(self.parameters())
