"""What an export asks of a datamodule, and which of its images goes where."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from qdgs_lightning.export.formats import ImageFile
from qdgs_lightning.export.shards import ExportError
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.identities import IdentityTable
from qdgs_lightning.sampling import Sampler
from qdgs_lightning.search import Archive


@runtime_checkable
class DrawsIdentities(Protocol):
    """A datamodule that draws images of identities."""

    def set_archive(self, archive: Archive) -> None:
        """Take latents from this archive."""

    def identities(self) -> IdentityTable:
        """Return the identities; collective over ranks, and the same on all."""

    def render(self, rows: Tensor) -> Tensor:
        """Draw images, float, ``[n, 3, S, S]`` in [0, 1]; number = latent row x edits + edit."""


class IdentitySource(DrawsIdentities, Protocol):
    """All that an export reads of such a datamodule.

    Attributes:
        num_images: Latents x edits.
        seed: Of everything that is drawn.
    """

    trainer: Trainer | None
    generator: Generator | None
    guidance: Guidance | None
    sampler: Sampler | None
    seed: int

    @property
    def num_images(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportLayout:
    """The order of the images in a dataset, and their names.

    Attributes:
        order: Image number at each place, int64, shape ``[n]``.
        classes: Class index at each place, int64, shape ``[n]``.
        numbers: Place of each image among those of its identity, int64, shape ``[n]``.
        bins: Joint bin at each place, int64, shape ``[n]``.
        bin_names: Name of every joint bin.
        edits: Images that are drawn of one latent.
        digest: SHA-256 of the identities and their latents.
    """

    order: Tensor
    classes: Tensor
    numbers: Tensor
    bins: Tensor
    bin_names: tuple[str, ...]
    edits: int
    digest: str

    @classmethod
    def of(cls, table: IdentityTable, *, num_images: int, mixed: bool) -> "ExportLayout":
        """Set the order: by identity and then by image number, or mixed.

        Args:
            table: The identities.
            num_images: Latents x edits.
            mixed: Whether images are in an order without pattern, always the same, as suits readers
                that go through a set in its order; otherwise identities come one after another.

        Raises:
            ExportError: There is no image.
        """
        latents = len(table.latents)
        if not latents or not num_images:
            raise ExportError(
                "There is no identity to write: widen the sampler's bins, or evaluate more."
            )
        edits = num_images // latents
        classes = table.classes.cpu().repeat_interleave(edits)
        order = classes.argsort(stable=True)
        of_class = classes[order]
        starts = torch.searchsorted(of_class, of_class)
        numbers = torch.arange(num_images) - starts
        if mixed:
            chosen = torch.randperm(num_images, generator=torch.Generator().manual_seed(0))
            order, numbers = order[chosen], numbers[chosen]
        digest = hashlib.sha256(repr(table.bin_names).encode())
        for tensor in (table.latents, table.classes, table.bins):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return cls(
            order=order,
            classes=classes[order],
            numbers=numbers,
            bins=table.bins.cpu().repeat_interleave(edits)[order],
            bin_names=table.bin_names,
            edits=edits,
            digest=digest.hexdigest(),
        )

    def __len__(self) -> int:
        return len(self.order)

    def counts(self) -> tuple[Tensor, Tensor]:
        """Return the class indices that have images, ascending, and the images of each."""
        counts = self.classes.bincount()
        identities = counts.nonzero()[:, 0]
        return identities, counts[identities]

    def bin_name(self, index: int) -> str:
        """Name a joint bin; the empty word where an identity has none."""
        return self.bin_names[index] if index >= 0 else ""

    def named(self, files: Iterable[bytes]) -> Iterator[ImageFile]:
        """Give image files, in order, their names and what is known of them."""
        folder_digits = len(str(int(self.classes.max())))
        stem_digits = len(str(int(self.numbers.max())))
        rows = (self.classes.tolist(), self.numbers.tolist(), self.bins.tolist())
        for data, identity, number, index in zip(files, *rows, strict=True):
            yield ImageFile(
                identity=identity,
                folder=f"{identity:0{folder_digits}}",
                stem=f"{number:0{stem_digits}}",
                data=data,
                facts={
                    "identity": identity,
                    "image": number,
                    "bin": index,
                    "bin_name": self.bin_name(index),
                },
            )
