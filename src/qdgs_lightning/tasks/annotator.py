"""Training of the annotators, and the report of their own errors."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from qdgs_lightning.reporting.figures import confusion_matrices
from qdgs_lightning.reporting.loggers import log_figure
from qdgs_lightning.tasks.labelled import Labelled
from qdgs_lightning.tasks.optimization import stepped_per_batch

Annotated = TypeVar("Annotated", bound=Labelled)

UNKNOWN = -1
"""Truth of a question that an image cannot answer."""


class _Saved(Protocol):
    """What can be written to a file."""

    def save(self, path: Path) -> None:
        """Write the weights."""


class AnnotatorTraining(L.LightningModule, ABC, Generic[Annotated]):
    """Trains an annotator by cross-entropy on all of its answers.

    Subclasses say which annotator, what it answers and what the truth is.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the scheduler, stepped after every batch, from the optimizer.
        weights: Start from, or test, these weights; ``None`` for random ones.
    """

    answers: Mapping[str, Sequence[str]]

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
        self.annotator = self.make(weights)
        self.confusion = nn.ModuleDict(
            {
                name: MulticlassConfusionMatrix(len(classes), ignore_index=UNKNOWN)
                for name, classes in self.answers.items()
            }
        )

    @abstractmethod
    def make(self, weights: str | None) -> nn.Module:
        """Make the annotator: images ``[n, 3, S, S]`` to logits ``[n, classes]`` per answer."""

    @abstractmethod
    def truth(self, batch: Annotated) -> Sequence[Tensor]:
        """Say the true class of each answer, int64 ``[n]`` each; `UNKNOWN` where there is none."""

    def training_step(self, batch: Annotated, batch_idx: int) -> Tensor:
        """Return the loss on annotated images."""
        pairs = zip(self.annotator(batch.images), self.truth(batch), strict=True)
        losses = [F.cross_entropy(said, true, ignore_index=UNKNOWN) for said, true in pairs]
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _judge(self, batch: Annotated) -> None:
        """Count right and wrong answers."""
        said = self.annotator(batch.images)
        for metric, logits, true in zip(
            self.confusion.values(), said, self.truth(batch), strict=True
        ):
            cast(MulticlassConfusionMatrix, metric).update(logits, true)

    def validation_step(self, batch: Annotated, batch_idx: int) -> None:
        """Judge held-out renders."""
        self._judge(batch)

    def test_step(self, batch: Annotated, batch_idx: int) -> None:
        """Judge held-out renders."""
        self._judge(batch)

    def on_validation_epoch_end(self) -> None:
        """Log accuracies."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Log accuracies and draw the confusion matrices."""
        counts = self._report("test")
        figure = confusion_matrices(
            {name: (self.answers[name], count) for name, count in counts.items()}
        )
        log_figure(self.trainer, "test/confusion", figure, step=self.global_step)

    def _report(self, stage: str) -> dict[str, Tensor]:
        """Log accuracies and return the confusion matrices, rows being the truth."""
        counts = {}
        for name, module in self.confusion.items():
            metric = cast(MulticlassConfusionMatrix, module)
            count = torch.as_tensor(metric.compute())
            self.log(f"{stage}/{name}_accuracy", count.trace() / count.sum(), prog_bar=True)
            counts[name] = count
            metric.reset()
        return counts

    def export(self, path: Path) -> None:
        """Write the annotator's weights; see `ExportWeights`."""
        cast(_Saved, self.annotator).save(path)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build what was injected."""
        return stepped_per_batch(self.parameters(), self.optimizer, self.scheduler)
