"""Endless rendered images: batches that differ in every epoch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from qdgs_lightning.datasets.checks import check_positive, check_reload
from qdgs_lightning.utils.seeding import check_seed, seeded_generator

Batch = TypeVar("Batch")


_TEST = 2**31  # number of the first batch for tests, beyond every epoch


class RenderedBatches(Dataset[Batch], Generic[Batch]):
    """A finite list of batches, each drawn anew when asked for.

    Args:
        draw: Draws one batch from a generator.
        first: Number of the first batch; disjoint ranges never share a batch.
        length: Number of batches.
        seed: With a batch's number, decides what is drawn.
    """

    def __init__(
        self, draw: Callable[[torch.Generator], Batch], *, first: int, length: int, seed: int
    ) -> None:
        self.draw = draw
        self.first = first
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        """Draw batch number `index`."""
        return self.draw(seeded_generator(self.seed, self.first + index))


class Renders(L.LightningDataModule, ABC, Generic[Batch]):
    """Batches that differ in every epoch; subclasses say what is drawn.

    Epochs differ only if the trainer rebuilds its loaders: `reload_dataloaders_every_n_epochs: 1`.

    Args:
        batch_size: Images per batch.
        batches_per_epoch: Batches per epoch, over all ranks.
        validation_batches: Batches held out.
        workers: Processes that render.
        seed: Of everything that is drawn.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        batches_per_epoch: int,
        validation_batches: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        check_positive(
            batch_size=batch_size,
            batches_per_epoch=batches_per_epoch,
            validation_batches=validation_batches,
        )
        check_seed(seed)
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.validation_batches = validation_batches
        self.workers = workers
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Refuse a trainer that would show the first epoch's images for ever."""
        if stage == "fit":
            check_reload(self.trainer)

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Batch:
        """Draw one batch."""

    def _loader(self, first: int, length: int) -> DataLoader[Batch]:
        batches = RenderedBatches(self.draw, first=first, length=length, seed=self.seed)
        return DataLoader(batches, batch_size=None, num_workers=self.workers)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return this epoch's batches."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        return self._loader(
            self.validation_batches + epoch * self.batches_per_epoch, self.batches_per_epoch
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return batches that training never sees."""
        return self._loader(0, self.validation_batches)

    def unseen(self) -> DataLoader[Batch]:
        """Return as many batches as for validation, which neither it nor training sees."""
        return self._loader(_TEST, self.validation_batches)
