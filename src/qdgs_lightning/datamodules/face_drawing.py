"""Which images of synthetic faces there are, in which order they come, and how they are drawn."""

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from qdgs_lightning.datamodules.checks import DataModuleError
from qdgs_lightning.generators import Generator
from qdgs_lightning.generators.stylegan2 import FaceAligner, IdentityEdits, StyleGAN2Generator
from qdgs_lightning.sampling import IdentityTable

Align = Literal["ffhq", "none"]

RESIDUES = 64
"""The place of an image in an epoch and its number are the same modulo this."""


class ImageRows(NamedTuple):
    """What a loader of synthetic faces yields, before the images are drawn.

    Attributes:
        rows: Numbers of images, int64, shape ``[n]``.
    """

    rows: Tensor


class RowBatches(Dataset[ImageRows]):
    """Batches of image numbers, ``[batches, n]``."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> ImageRows:
        return ImageRows(self.rows[index])


def row_loader(rows: Tensor) -> DataLoader[ImageRows]:
    """Load batches of image numbers, ``[batches, n]``, as they are."""
    dataset = RowBatches(rows)
    # They are one rank's share already; told so, Lightning does not divide them once more.
    order: DistributedSampler[ImageRows] = DistributedSampler(
        dataset, num_replicas=1, rank=0, shuffle=False
    )
    return DataLoader(dataset, batch_size=None, sampler=order)


def epoch_order(number: int, *, random: torch.Generator) -> Tensor:
    """Shuffle numbers within their residues modulo 64, which stay where they are.

    Args:
        number: How many, from 0.
        random: Source of the randomness.

    Returns:
        A permutation, int64, shape ``[number]``, in which element p is p modulo 64.
    """
    keys = torch.rand(-(-number // RESIDUES), RESIDUES, generator=random)
    keys.view(-1)[number:] = 2.0  # what is not there comes last
    order = keys.argsort(dim=0, stable=True) * RESIDUES + torch.arange(RESIDUES)
    return order.flatten()[:number]


class FaceDrawer:
    """Draws every latent of a table under every edit; image ``r * edits + e`` is latent r, edit e.

    Args:
        generator: Prepared.
        edits: Changes of a latent, one for each image of it; None for one image as it is.
        align: ``ffhq`` crops as `FaceAligner` does; ``none`` leaves images whole.
        image_size: Side of the images.

    Raises:
        DataModuleError: Edits or alignment are for another kind of generator.
        StyleGAN2Error: The generator's images are not aligned as those of FFHQ.
    """

    def __init__(
        self, generator: Generator, *, edits: IdentityEdits | None, align: Align, image_size: int
    ) -> None:
        self._generator = generator
        self._size = (image_size, image_size)
        self._edits: Tensor | None = None
        self._aligner: FaceAligner | None = None
        self._latents = self._classes = torch.empty(0)
        if isinstance(generator, StyleGAN2Generator):
            self._edits = None if edits is None else edits.rows(generator)
            self._aligner = FaceAligner.of(generator, size=image_size) if align == "ffhq" else None
        elif edits is not None or align != "none":
            raise DataModuleError(
                "Edits and alignment are for StyleGAN2Generator, not for "
                f"{type(generator).__name__}: set `data.init_args.align: none` and no edits."
            )

    @property
    def num_edits(self) -> int:
        """How many images there are of each latent."""
        return 1 if self._edits is None else len(self._edits)

    @property
    def device(self) -> torch.device:
        """Where images are drawn."""
        return self._latents.device

    def place(self, table: IdentityTable, device: torch.device) -> None:
        """Draw from this table from now on.

        Args:
            table: The latents.
            device: Where the generator is.
        """
        self._latents, self._classes = table.latents.to(device), table.classes.to(device)
        if self._edits is not None:
            self._edits = self._edits.to(device)
        if self._aligner is not None:
            self._aligner.to(device)

    def classes(self, rows: Tensor) -> Tensor:
        """Return the classes of images by their numbers, on the device."""
        return self._classes[(rows // self.num_edits).to(self.device)]

    def draw(self, rows: Tensor) -> Tensor:
        """Draw images by their numbers.

        Args:
            rows: Int64, shape ``[n]``.

        Returns:
            Uint8, shape ``[n, 3, S, S]``, on the device.
        """
        latents = self._latents[(rows // self.num_edits).to(self.device)]
        # In the generator's own precision, whatever that of the training is.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            if self._edits is not None:
                edits = self._edits[(rows % self.num_edits).to(self.device)]
                latents = cast(StyleGAN2Generator, self._generator).layered(latents) + edits
            images: Tensor = self._generator(latents)
            if self._aligner is not None:
                images = self._aligner(images)
            if images.shape[-2:] != self._size:
                images = F.interpolate(images, self._size, mode="bilinear", antialias=True)
            return images.clamp(0, 1).mul(255).round().to(torch.uint8)
