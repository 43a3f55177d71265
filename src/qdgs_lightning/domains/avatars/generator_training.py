"""Training of a small StyleGAN2 whose images are known: by regression, without an adversary."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from qdgs_lightning.domains.avatars.dataset import NORMALS, LatentImages, style_attributes
from qdgs_lightning.generators.stylegan2 import Checkpoint, StyleGAN2, save_stylegan2
from qdgs_lightning.generators.stylegan2.io.assembly import sampled_styles
from qdgs_lightning.tasks.optimization import stepped_per_batch


class StyleGAN2Regression(L.LightningModule):
    """Trains a `StyleGAN2` to draw given images from given latents.

    Where a renderer says which image a latent stands for, regression takes the place of an
    adversary: minutes on a CPU instead of days on a GPU, and no mode is lost. Mapping and synthesis
    learn apart, the one to give each z its style, the other to draw that style. The loss of images
    is the absolute error of pixels and of their differences to neighbours, which keeps edges sharp,
    and the squared error of small patches, which still pulls where a feature misses its place. For
    the first epochs images of half the size are learnt, at a third of the cost. Mapping learns by
    squared errors of styles, and once more of the attributes in them. Few people are between two
    classes: attributes jump with z, and a function that is too smooth would put more there.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the scheduler, stepped after every batch, from the optimizer.
        channels: Channels of each resolution from 4 x 4.
        image_size: Side of the images, a power of two.
        mapping_layers: Dense layers from z to w.
        mapping_width: Units of those between.
        half_size_epochs: Epochs of half the size.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable,
        channels: tuple[int, ...] = (128, 128, 64, 32, 16),
        image_size: int = 64,
        mapping_layers: int = 4,
        mapping_width: int = 192,
        half_size_epochs: int = 10,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.half_size_epochs = half_size_epochs
        self.config: dict[str, Any] = {
            "z_dim": NORMALS,
            "c_dim": 0,
            "w_dim": NORMALS,
            "img_resolution": image_size,
            "img_channels": 3,
            "mapping_kwargs": {
                "num_layers": mapping_layers,
                "layer_features": mapping_width,
                "lr_multiplier": 1.0,
            },
            "synthesis_kwargs": {
                "channels": tuple(channels),
                "conv_clamp": None,
                "architecture": "skip",
            },
        }
        self.network = StyleGAN2(**self.config)

    def _images(self, w: Tensor, resolution: int) -> Tensor:
        """Draw styles ``[n, w_dim]``; RGB, nominally in [0, 1]."""
        synthesis = self.network.synthesis
        ws = w[:, None].expand(-1, synthesis.num_ws, -1)
        return torch.as_tensor(synthesis(ws, "none", resolution=resolution) / 2 + 0.5)

    def training_step(self, batch: LatentImages, batch_idx: int) -> Tensor:
        """Return the loss on images with their latents."""
        images, size = batch.images, self.network.synthesis.img_resolution
        if self.trainer.current_epoch < self.half_size_epochs:
            images, size = F.avg_pool2d(images, 2), size // 2
        error = self._images(batch.w[: len(images)], size) - images
        pixels = error.abs().mean()
        edges = sum(error.diff(dim=dim).abs().mean() for dim in (2, 3))
        misplaced = F.avg_pool2d(error, 4).square().mean()
        w = self.network.mapping(batch.z)[:, 0]
        mapping = F.mse_loss(w, batch.w)
        attributes = F.mse_loss(style_attributes(w), style_attributes(batch.w))
        self.log_dict(
            {"train/pixels": pixels, "train/mapping": mapping, "train/attributes": attributes},
            batch_size=len(images),
            prog_bar=True,
        )
        return torch.as_tensor(pixels + edges + 4 * misplaced + 0.1 * mapping + 0.05 * attributes)

    def validation_step(self, batch: LatentImages, batch_idx: int) -> None:
        """Log the mean absolute error of pixels, drawn from z, and the peak signal-to-noise."""
        w = self.network.mapping(batch.z[: len(batch.images)])[:, 0]
        error = self._images(w, self.network.synthesis.img_resolution).clamp(0, 1) - batch.images
        values = {"pixels": error.abs().mean(), "psnr": -10 * error.square().mean().log10()}
        self.log_dict(
            {f"val/{name}": value for name, value in values.items()},
            batch_size=len(batch.images),
            sync_dist=True,
            prog_bar=True,
        )

    def export(self, path: Path) -> None:
        """Write the network in half precision; see `ExportWeights` and `load_stylegan2`."""
        network = copy.deepcopy(self.network).cpu().eval()
        styles = sampled_styles(network)
        network.mapping.w_avg.copy_(styles.mean(dim=0))
        std = styles.std(dim=0).float()
        save_stylegan2(
            Checkpoint(
                network=network.half(), w_std=std, config=self.config, kind="regression", sha256=""
            ),
            path,
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build what was injected."""
        return stepped_per_batch(self.parameters(), self.optimizer, self.scheduler)
