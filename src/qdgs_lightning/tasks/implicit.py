"""Training of the implicit generator: an autoencoder, and a flow to its codes."""

import itertools
from pathlib import Path
from pickle import UnpicklingError

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from qdgs_lightning.generators.implicit import ImplicitArchitecture, ImplicitGenerator
from qdgs_lightning.tasks.optimization import stepped_per_batch
from qdgs_lightning.tasks.seeding import step_generator
from qdgs_lightning.utils.seeding import check_seed
from qdgs_lightning.weights import WeightsError


class ImplicitEncoder(nn.Sequential):
    """Images ``[n, 3, S, S]`` to codes ``[n, code_size]`` of zero mean and unit variance."""

    def __init__(self, image_size: int, code_size: int) -> None:
        channels = (3, 24, 48, 64, 96)
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for inputs, outputs in itertools.pairwise(channels):
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2),
            ]
        layers += [
            nn.Flatten(),
            nn.Linear(channels[-1] * (image_size // 32) ** 2, 128),
            nn.ReLU(),
            nn.Linear(128, code_size),
            nn.BatchNorm1d(code_size, affine=False),
        ]
        super().__init__(*layers)


class ImplicitTraining(L.LightningModule):
    """Trains an `ImplicitGenerator` on images alone, without their labels.

    The autoencoder minimises the absolute error of pixels plus the squared error of small
    patches, which still pulls where a figure misses its place. A little noise on the codes makes
    the decoder smooth. At the same time the flow learns to carry the prior to those codes.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the scheduler, stepped after every batch, from the optimizer.
        architecture: Sizes of the generator.
        init_from: Checkpoint of an earlier run to start from, encoder and all; for instance one
            that saw more of a rare group.
        noise: Standard deviation of the noise on codes.
        flow_repeats: Paths per code and step on which the flow learns.
        seed: Of noise, paths and the pixels looked at, from 0 to 2^30 - 1.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable,
        architecture: ImplicitArchitecture = ImplicitArchitecture(),  # noqa: B008 (frozen)
        init_from: Path | None = None,
        noise: float = 0.05,
        flow_repeats: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.noise = noise
        self.flow_repeats = flow_repeats
        check_seed(seed)
        self.seed = seed
        self.init_from = init_from
        self.generator = ImplicitGenerator(None, architecture)
        self.encoder = ImplicitEncoder(architecture.image_size, architecture.code_size)

    def setup(self, stage: str) -> None:
        """Start from an earlier run's weights, if asked to.

        Raises:
            WeightsError: The checkpoint is missing or of another architecture.
        """
        if stage != "fit" or self.init_from is None:
            return
        try:
            checkpoint = torch.load(self.init_from, map_location="cpu", weights_only=True)
            self.load_state_dict(checkpoint["state_dict"])
        except (OSError, KeyError, RuntimeError, UnpicklingError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"init_from: {self.init_from} is no checkpoint of this task ({reason}); give "
                "the last.ckpt of an earlier run with the same architecture."
            ) from error

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss on images ``[n, 3, S, S]``."""
        random = step_generator(self, self.seed, batch_idx)
        codes = self.encoder(batch)
        noise = torch.randn(codes.shape, generator=random, device=self.device)
        codes = codes + self.noise * noise
        # Every other row and column, a different phase each time: a quarter of the work.
        first = torch.randint(2, (2,), generator=random, device=self.device).tolist()
        rows, columns = slice(first[0], None, 2), slice(first[1], None, 2)
        error = self.generator.decoder(codes, rows, columns) - batch[:, :, rows, columns]
        reconstruction = error.abs().mean()
        misplaced = F.avg_pool2d(error, 4).square().mean()
        flow = self.generator.flow.matching_loss(
            codes.detach().repeat(self.flow_repeats, 1), random
        )
        self.log_dict({"train/reconstruction": reconstruction, "train/flow": flow}, prog_bar=True)
        return torch.as_tensor(reconstruction + 2 * misplaced + 0.1 * flow)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the mean absolute error of reconstructed pixels."""
        error = self.generator.decoder(self.encoder(batch)) - batch
        self.log("val/reconstruction", error.abs().mean(), sync_dist=True, prog_bar=True)

    def export(self, path: Path) -> None:
        """Write the generator's weights; see `ExportWeights`."""
        self.generator.save(path)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build what was injected."""
        return stepped_per_batch(self.parameters(), self.optimizer, self.scheduler)
