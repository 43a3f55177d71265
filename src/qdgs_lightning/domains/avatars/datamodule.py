"""Endless rendered avatars for training generators and judges."""

import torch
from torch.utils.data import DataLoader

from qdgs_lightning.datamodules.renders import Renders
from qdgs_lightning.datasets.checks import DataModuleError, check_share
from qdgs_lightning.domains.avatars.dataset import LatentImages, Population, draw_latent_images
from qdgs_lightning.domains.avatars.labelled import AnnotatedAvatars, render_annotated_avatars


class AvatarRenders(Renders[LatentImages]):
    """Avatars of a population with their latents, for training generators by regression.

    Args:
        population: Who is drawn; as biased as FFHQ by default.
        batch_size: Images per batch.
        latents: Latents per batch, at least as many: those without an image cost next to nothing,
            and what maps z to w learns from all.
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
        population: Population | None = None,
        batch_size: int = 16,
        latents: int = 1024,
        batches_per_epoch: int = 250,
        validation_batches: int = 4,
        workers: int = 0,
        seed: int = 0,
        image_size: int = 64,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            batches_per_epoch=batches_per_epoch,
            validation_batches=validation_batches,
            workers=workers,
            seed=seed,
        )
        if latents < batch_size:
            raise DataModuleError(
                f"latents is {latents}; give at least as many as images, {batch_size}."
            )
        self.population = population or Population()
        self.latents = latents
        self.image_size = image_size

    def draw(self, generator: torch.Generator) -> LatentImages:
        """Draw one batch."""
        return draw_latent_images(
            self.population,
            self.batch_size,
            generator,
            latents=self.latents,
            image_size=self.image_size,
        )


class AnnotatedAvatarRenders(Renders[AnnotatedAvatars]):
    """Clear avatars among junk, with what they show, for training judges.

    Args:
        junk: Share of the images that are junk, in [0, 1].
        population: Who is drawn; all classes alike by default.
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
        junk: float = 0.3,
        population: Population | None = None,
        batch_size: int = 96,
        batches_per_epoch: int = 100,
        validation_batches: int = 8,
        workers: int = 0,
        seed: int = 0,
        image_size: int = 64,
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
        self.population = population or Population.even()
        self.image_size = image_size

    def draw(self, generator: torch.Generator) -> AnnotatedAvatars:
        """Draw one batch of annotated images."""
        return render_annotated_avatars(
            self.batch_size,
            generator,
            junk=self.junk,
            population=self.population,
            image_size=self.image_size,
        )

    def test_dataloader(self) -> DataLoader[AnnotatedAvatars]:
        """Return as many batches as for validation, which neither it nor training sees."""
        return self.unseen()
