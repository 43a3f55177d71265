"""Endless rendered images for training generators and judges; those of shapes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qdgs_lightning.datamodules.checks import (
    check_positive,
    check_reload,
    check_share,
)
from qdgs_lightning.domains.shapes.dataset import check_bias
from qdgs_lightning.domains.shapes.labelled import AnnotatedImages, render_annotated
from qdgs_lightning.domains.shapes.renderer import render_shapes, sample_poses
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


class BiasedRenders(Renders[Tensor]):
    """Images of shapes with a colour bias, for training generators.

    A batch is a float tensor of RGB images in [0, 1], shape ``[batch_size, 3, S, S]``.

    Args:
        bias: Probability that a triangle is red, and that a square is blue, in [0, 1].
        batch_size: Images per batch.
        batches_per_epoch: Batches per epoch, over all ranks.
        validation_batches: Batches held out.
        workers: Processes that render.
        seed: Of everything that is drawn.
        image_size: Side of the images in pixels.

    Raises:
        QDGSError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        bias: float = 0.9,
        batch_size: int = 64,
        batches_per_epoch: int = 250,
        validation_batches: int = 4,
        workers: int = 0,
        seed: int = 0,
        image_size: int = 128,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            batches_per_epoch=batches_per_epoch,
            validation_batches=validation_batches,
            workers=workers,
            seed=seed,
        )
        check_bias(bias)
        self.bias = bias
        self.image_size = image_size

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw one batch of images."""
        n = self.batch_size
        shapes = torch.randint(2, (n,), generator=generator)
        majority = torch.rand(n, generator=generator) < self.bias
        colours = torch.where(majority, shapes, 1 - shapes)
        return render_shapes(shapes, colours, sample_poses(n, generator), self.image_size)


class AnnotatedRenders(Renders[AnnotatedImages]):
    """Unbiased shapes among junk, with what they show, for training judges.

    Args:
        junk: Share of the images that are junk, in [0, 1].
        batch_size: Images per batch.
        batches_per_epoch: Batches per epoch, over all ranks.
        validation_batches: Batches held out.
        workers: Processes that render.
        seed: Of everything that is drawn.
        image_size: Side of the images in pixels.

    Raises:
        QDGSError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        junk: float = 0.5,
        batch_size: int = 128,
        batches_per_epoch: int = 100,
        validation_batches: int = 8,
        workers: int = 0,
        seed: int = 0,
        image_size: int = 128,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            batches_per_epoch=batches_per_epoch,
            validation_batches=validation_batches,
            workers=workers,
            seed=seed,
        )
        check_share(junk=junk)
        self.junk = junk
        self.image_size = image_size

    def draw(self, generator: torch.Generator) -> AnnotatedImages:
        """Draw one batch of annotated images."""
        return render_annotated(
            self.batch_size, generator, junk=self.junk, image_size=self.image_size
        )

    def test_dataloader(self) -> DataLoader[AnnotatedImages]:
        """Return as many batches as for validation, which neither it nor training sees."""
        return self.unseen()
