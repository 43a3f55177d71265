"""Endless rendered shapes for training generators and judges."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from qdgs_lightning.datamodules.renders import Renders
from qdgs_lightning.datasets.checks import check_share
from qdgs_lightning.domains.shapes.dataset import check_bias
from qdgs_lightning.domains.shapes.labelled import AnnotatedImages, render_annotated
from qdgs_lightning.domains.shapes.renderer import render_shapes, sample_poses


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
