"""Training of the annotator, and the report of its own errors."""

from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from qdgs_lightning.datasets.annotated import AnnotatedImages
from qdgs_lightning.figures import confusion_matrices
from qdgs_lightning.loggers import log_figure
from qdgs_lightning.models.annotator import ShapeAnnotator
from qdgs_lightning.tasks.optimization import stepped_per_batch

SHAPE_ANSWERS = ("triangle", "square", "neither")
COLOUR_ANSWERS = ("red", "blue", "mixed")


class AnnotatorTraining(L.LightningModule):
    """Trains a `ShapeAnnotator` by cross-entropy on both of its answers.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the scheduler, stepped after every batch, from the optimizer.
        weights: Start from, or test, these weights; ``None`` for random ones.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.annotator = ShapeAnnotator(weights)
        self.shape_confusion = MulticlassConfusionMatrix(len(SHAPE_ANSWERS))
        self.colour_confusion = MulticlassConfusionMatrix(len(COLOUR_ANSWERS))

    def training_step(self, batch: AnnotatedImages, batch_idx: int) -> Tensor:
        """Return the loss on annotated images."""
        shapes, colours = self.annotator(batch.images)
        loss = F.cross_entropy(shapes, batch.shapes) + F.cross_entropy(colours, batch.colours)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _judge(self, batch: AnnotatedImages) -> None:
        """Count right and wrong answers."""
        shapes, colours = self.annotator(batch.images)
        self.shape_confusion.update(shapes, batch.shapes)
        self.colour_confusion.update(colours, batch.colours)

    def validation_step(self, batch: AnnotatedImages, batch_idx: int) -> None:
        """Judge held-out renders."""
        self._judge(batch)

    def test_step(self, batch: AnnotatedImages, batch_idx: int) -> None:
        """Judge held-out renders."""
        self._judge(batch)

    def on_validation_epoch_end(self) -> None:
        """Log accuracies."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Log accuracies and draw both confusion matrices."""
        counts = self._report("test")
        figure = confusion_matrices(
            {"shape": (SHAPE_ANSWERS, counts[0]), "colour": (COLOUR_ANSWERS, counts[1])}
        )
        log_figure(self.trainer, "test/confusion", figure, step=self.global_step)

    def _report(self, stage: str) -> tuple[Tensor, Tensor]:
        """Log both accuracies and return both confusion matrices, rows being the truth."""
        counts = []
        for name, metric in (("shape", self.shape_confusion), ("colour", self.colour_confusion)):
            count = torch.as_tensor(metric.compute())
            self.log(f"{stage}/{name}_accuracy", count.trace() / count.sum(), prog_bar=True)
            counts.append(count)
            metric.reset()
        return counts[0], counts[1]

    def export(self, path: Path) -> None:
        """Write the annotator's weights; see `ExportWeights`."""
        self.annotator.save(path)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build what was injected."""
        return stepped_per_batch(self.parameters(), self.optimizer, self.scheduler)
