"""A look at what is learnt from, where no archive shows it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import image_sheet
from qdgs_lightning.reporting.loggers import log_figure


@runtime_checkable
class NamesLabels(Protocol):
    """A datamodule that says in words what the labels of its training images mean."""

    def label_names(self, labels: Sequence[Tensor]) -> list[str]:
        """Name each image of a batch.

        Args:
            labels: All of the batch but its images, each of shape ``[n]``.
        """


class TrainingImages(Callback):
    """Logs a sheet of training images with their labels, as the network gets them.

    They are those of the first batch of an epoch, altered as the datamodule alters them, as
    ``train/images``. A datamodule that `NamesLabels` says what labels mean; others have numbers.

    Args:
        number: Images on a sheet, at most; a batch may have fewer.
        every_n_epochs: From one sheet to the next; None makes one, when the fit starts.

    Raises:
        QDGSError: A number is not positive.
    """

    def __init__(self, *, number: int = 32, every_n_epochs: int | None = None) -> None:
        if number < 1 or (every_n_epochs is not None and every_n_epochs < 1):
            raise QDGSError(
                f"TrainingImages needs one image and one epoch or more, not {number} and "
                f"{every_n_epochs}."
            )
        self.number = number
        self.every_n_epochs = every_n_epochs
        self._shown = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._shown = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Sequence[Tensor], batch_idx: int
    ) -> None:
        """Log a sheet, if it is time; the first process does."""
        every = self.every_n_epochs
        due = every is not None and batch_idx == 0 and trainer.current_epoch % every == 0
        if not trainer.is_global_zero or (self._shown and not due):
            return
        self._shown = True
        images, *labels = batch
        images, labels = images[: self.number], [each[: self.number] for each in labels]
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, NamesLabels):
            captions = data.label_names(labels)
        else:
            rows = torch.stack([each.cpu() for each in labels], dim=1).tolist()
            captions = [", ".join(map(str, row)) for row in rows]
        figure = image_sheet(
            images, captions, heading=f"Training images of epoch {trainer.current_epoch}"
        )
        log_figure(trainer, "train/images", figure, step=trainer.global_step)
