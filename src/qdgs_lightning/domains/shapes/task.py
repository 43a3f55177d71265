"""Learning to tell triangles from squares, and finding out whether colour was learnt instead."""

import math

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from qdgs_lightning.domains.shapes.classifier import ShapeClassifier
from qdgs_lightning.domains.shapes.renderer import GROUPS
from qdgs_lightning.metrics import GroupAccuracy
from qdgs_lightning.reporting.figures import group_bars
from qdgs_lightning.reporting.loggers import log_figure

ShapesBatch = tuple[Tensor, Tensor, Tensor]


class ShapeClassification(LightningModule):
    """Classifies shape; colour, with which shape is confounded, is looked at, never learnt.

    Logs ``train/loss`` and ``val/loss``; in validation and test the accuracy of the four
    shape-colour groups (``val/red_triangle``, ``test/red_triangle`` ...), their mean ``balanced``,
    ``worst`` and ``gap``; and for a test the groups as bars, ``test/groups``.

    Args:
        classifier: Images ``[n, 3, S, S]`` in [0, 1] to two logits; `ShapeClassifier` if left out.
        optimizer: Makes the optimiser of given parameters.
    """

    def __init__(
        self, *, classifier: nn.Module | None = None, optimizer: OptimizerCallable = Adam
    ) -> None:
        super().__init__()
        # Modules and callables would be pickled into checkpoints, which are to load without.
        self.save_hyperparameters(ignore=["classifier", "optimizer"], logger=False)
        self.classifier = classifier or ShapeClassifier()
        self.optimizer = optimizer
        self.val_accuracy = GroupAccuracy(GROUPS)
        self.test_accuracy = GroupAccuracy(GROUPS)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images ``[n, 3, S, S]`` in [0, 1]; returns logits ``[n, 2]``."""
        return torch.as_tensor(self.classifier(images))

    def training_step(self, batch: ShapesBatch, batch_idx: int) -> Tensor:
        """Return the cross-entropy of a batch ``(images, shape, colour)``."""
        images, shapes, _ = batch
        loss = F.cross_entropy(self(images), shapes)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: ShapesBatch, batch_idx: int) -> None:
        """Count a batch, and log its loss."""
        loss = self._count(batch, self.val_accuracy)
        self.log("val/loss", loss, batch_size=len(batch[0]), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log what a test logs, of the unbiased validation set, and its mean as ``val/acc``."""
        values = self.val_accuracy.compute()
        self.log("val/acc", values["balanced"], prog_bar=True)
        self.log_dict({f"val/{name}": value for name, value in values.items()})
        self.val_accuracy.reset()

    def test_step(self, batch: ShapesBatch, batch_idx: int) -> None:
        """Count a batch."""
        self._count(batch, self.test_accuracy)

    def on_test_epoch_end(self) -> None:
        """Log the accuracy of each group, their mean, the worst, and the gap; draw the groups."""
        values = self.test_accuracy.compute()
        self.log_dict({f"test/{name}": value for name, value in values.items()})
        bars = {name: float(values[name]) for name in self.test_accuracy.names}
        if not any(map(math.isnan, bars.values())):  # a part of the set may lack a group
            figure = group_bars({"test": bars}, chance=0.5)
            log_figure(self.trainer, "test/groups", figure, step=self.trainer.global_step)
        self.test_accuracy.reset()

    def example_batch(self, n: int, *, random: torch.Generator) -> tuple[Tensor, ...]:
        """Make a batch without meaning; see `HasExamples`."""
        labels = torch.randint(2, (2, n), generator=random)
        return torch.rand(n, 3, 128, 128, generator=random), *labels

    def configure_optimizers(self) -> Optimizer:
        """Make the optimiser that was asked for."""
        return self.optimizer(self.parameters())

    def _count(self, batch: ShapesBatch, metric: GroupAccuracy) -> Tensor:
        """Add a batch to a metric and return its loss."""
        images, shapes, colours = batch
        logits = self(images)
        metric.update(logits.argmax(1), shapes, 2 * shapes + colours)
        return F.cross_entropy(logits, shapes)
