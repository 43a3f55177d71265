"""Which images of synthetic faces there are, in which order they come, and how they are drawn."""

from typing import Literal, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from qdgs_lightning.datasets.checks import DataModuleError
from qdgs_lightning.datasets.resumable_loading import ResumableLoader, ResumableSampler
from qdgs_lightning.generators import Generator
from qdgs_lightning.generators.stylegan2 import StyleGAN2Generator
from qdgs_lightning.identities.aligner import FaceAligner
from qdgs_lightning.identities.edits import IdentityEdits
from qdgs_lightning.identities.report import IdentityTable
from qdgs_lightning.search.evaluation import device_of
from qdgs_lightning.utils.precision import Precision, dtype_of

Align = Literal["ffhq", "ffhq_unchecked", "none"]

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


def epoch_loader(
    number: int, *, batch_size: int, random: torch.Generator, trainer: Trainer
) -> DataLoader[ImageRows]:
    """Load the numbers of one rank's images that are left of an epoch, in its order.

    Args:
        number: How many images there are.
        batch_size: Images per step and rank; what is left of the last step is not shown.
        random: Source of the order, the same on every rank.
        trainer: Knows the rank, and which batches of the epoch it has shown.

    Raises:
        DataModuleError: The images do not make a single step.
    """
    rank, world = trainer.global_rank, trainer.world_size
    batches = number // (batch_size * world)
    if not batches:
        raise DataModuleError(
            f"There are {number} images, too few for a batch of {batch_size} on {world} "
            "rank(s): lower `data.init_args.batch_size`, or get more identities."
        )
    order = epoch_order(number, random=random)[rank::world]
    dataset = RowBatches(order[: batches * batch_size].reshape(batches, -1))
    # They are one rank's share already; told so, Lightning does not divide them once more.
    sampler = ResumableSampler(
        dataset, trainer=trainer, batch_size=1, num_replicas=1, rank=0, shuffle=False
    )
    return ResumableLoader(dataset, batch_size=None, sampler=sampler)


def make_aligner(generator: StyleGAN2Generator, align: Align, *, size: int) -> FaceAligner | None:
    """Return what crops faces, or None where they stay whole.

    Args:
        generator: Prepared.
        align: ``ffhq`` crops those of FFHQ-aligned faces, ``ffhq_unchecked`` whatever the
            generator's file says of itself; ``none`` crops none.
        size: Side of the crops.

    Raises:
        StyleGAN2Error: Nothing says that the generator's images are aligned as those of FFHQ.
    """
    if align == "none":
        return None
    return FaceAligner.of(generator, size=size, force=align == "ffhq_unchecked")


def precision_of(generator: Generator | None, asked: Precision | None) -> Precision:
    """Name the precision that images are drawn in: the one asked for, or the generator's own."""
    if asked is not None:
        return asked
    return generator.precision if isinstance(generator, StyleGAN2Generator) else "float32"


def compare_precisions(before: str | None, now: Precision) -> None:
    """Warn where a run goes on with images that are drawn in another precision.

    Args:
        before: That of the checkpoint; None in those of earlier versions.
        now: That of this run.
    """
    if before not in (None, now):
        rank_zero_warn(
            f"Images were drawn in {before}, and are drawn in {now} from here on; set "
            f"`data.init_args.draw_precision` to {before} to go on as before."
        )


class FaceDrawer:
    """Draws every latent of a table under every edit; image ``r * edits + e`` is latent r, edit e.

    Half precision moves images by a fraction of a grey level on average (mean, 99.9 % of all
    values, largest; on a CPU):

    ======== ================================== ================================================
    .        64 avatars of `avatars_generator`  4 crops of FFHQ-256's network, random weights,
    .                                           with the contrast of photographs
    ======== ================================== ================================================
    bfloat16 0.18, 3, 7                         0.49, 2, 3
    float16  0.02, 1, 1                         0.06, 1, 1
    ======== ================================== ================================================

    Every layer has its share in that: with the highest resolution in float32 the means are 0.15 and
    0.38, so none is left in float32 but the first of 4 x 4 pixels, and the image that layers add
    to. Random weights with so much contrast that half of all values saturate: 0.76, 10, 12 in
    bfloat16 and 0.09, 1, 2 in float16.

    Args:
        generator: Prepared, and on the device to draw on.
        edits: Changes of a latent, one for each image of it; None for one image as it is.
        align: How images are cropped, see `make_aligner`.
        image_size: Side of the images.
        precision: Of the generator's features; its own by default. Edits and crops are float32.

    Raises:
        DataModuleError: Edits, alignment or precision are for another kind of generator, or the
            device does not compute in this precision.
        StyleGAN2Error: Nothing says that the generator's images are aligned as those of FFHQ.
        PrecisionError: There is no such precision.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        edits: IdentityEdits | None,
        align: Align,
        image_size: int,
        precision: Precision | None = None,
    ) -> None:
        self._generator = generator
        self._size = (image_size, image_size)
        self._precision = precision_of(generator, precision)
        dtype_of(self._precision)
        self._check(device_of(generator))
        self._edits: Tensor | None = None
        self._aligner: FaceAligner | None = None
        self._latents = self._classes = torch.empty(0)
        if isinstance(generator, StyleGAN2Generator):
            self._edits = None if edits is None else edits.rows(generator)
            self._aligner = make_aligner(generator, align, size=image_size)
        elif edits is not None or align != "none" or self._precision != "float32":
            raise DataModuleError(
                "Edits, alignment and half precision are for StyleGAN2Generator, not for "
                f"{type(generator).__name__}: set `data.init_args.align: none`, and neither edits "
                "nor draw_precision."
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

        Raises:
            DataModuleError: It does not compute in this precision.
        """
        self._check(device)
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

        Raises:
            DataModuleError: Numbers grow too large for float16.
        """
        generator = self._generator
        latents = self._latents[(rows // self.num_edits).to(self.device)]
        # The precision of the training does not decide how images look.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            if isinstance(generator, StyleGAN2Generator):
                if self._edits is not None:
                    edits = self._edits[(rows % self.num_edits).to(self.device)]
                    latents = generator.layered(latents) + edits
                images: Tensor = generator(latents, precision=self._precision)
            else:
                images = generator(latents)
            # Nobody sees it later: as bytes they are some grey.
            if self._precision == "float16" and images.isnan().any():
                raise DataModuleError(
                    "The generator's features grow too large for float16: set "
                    "`data.init_args.draw_precision` to bfloat16 or float32."
                )
            if self._aligner is not None:
                images = self._aligner(images)
            if images.shape[-2:] != self._size:
                images = F.interpolate(images, self._size, mode="bilinear", antialias=True)
            return images.clamp(0, 1).mul(255).round().to(torch.uint8)

    def _check(self, device: torch.device) -> None:
        """Make sure that a device computes in this precision."""
        if (
            self._precision == "bfloat16"
            and device.type == "cuda"
            and not torch.cuda.is_bf16_supported(including_emulation=False)
        ):
            raise DataModuleError(
                "This GPU does not compute in bfloat16: set `data.init_args.draw_precision` to "
                "float16 or float32."
            )
