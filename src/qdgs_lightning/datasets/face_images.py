"""What training sets of faces have in common, however they are kept."""

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.datasets.image_decoding import ImageDecodingError
from qdgs_lightning.datasets.image_header import image_header
from qdgs_lightning.errors import QDGSError

OnBadRecord = Literal["raise", "skip"]

_PROBES = 1000


class FaceImages(Dataset[tuple[Tensor, int]], ABC):
    """Images with identities, of which damaged ones end the training or are passed over.

    Args:
        on_bad_record: What to do about an image that cannot be used: ``raise``, or ``skip``, which
            takes the next good image in its place and warns, once in each process that loads.

    Attributes:
        num_classes: How many identities there are.
        bad_rows: Images that were skipped in this process.
        size: Height and width that every image must have, once `check` has found them.

    Raises:
        QDGSError: `on_bad_record` is none of both.
    """

    error: ClassVar[type[QDGSError]]
    num_classes: int

    def __init__(self, *, on_bad_record: OnBadRecord) -> None:
        if on_bad_record not in ("raise", "skip"):
            raise self.error(f"on_bad_record is {on_bad_record!r}; give raise or skip.")
        self.on_bad_record = on_bad_record
        self.bad_rows: set[int] = set()
        self.size: tuple[int, int] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def load(self, row: int) -> tuple[Tensor, int]:
        """Decode an image, or raise an `error` that says what is wrong with it."""

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """Return the contents of an image file, or raise an `error`."""

    @abstractmethod
    def source(self, index: int) -> str:
        """Say where an image is."""

    @abstractmethod
    def describe(self) -> str:
        """Say where the images are."""

    def check(self, *, prefer: int | None = None) -> None:
        """Compare the sizes of images before anything is spent on them, and hold all to one.

        The headers of a thousand images are read, evenly spread over the set, or of all where
        there are fewer; an image that this misses is named when it is loaded. Damaged images are
        passed over here.

        Args:
            prefer: Side in pixels that counts as right if any image has it; otherwise the most
                frequent size does.

        Raises:
            QDGSError: An image has another size than the others, unless such are to be skipped.
        """
        found: dict[int, tuple[int, int]] = {}
        for row in np.linspace(0, len(self) - 1, min(len(self), _PROBES)).astype(int).tolist():
            try:
                header = image_header(self.encoded(row))
            except (self.error, ImageDecodingError):
                continue
            found[row] = header.height, header.width
        if not found:
            return
        counts = Counter(found.values())
        wanted = counts.most_common(1)[0][0]
        if prefer is not None and (prefer, prefer) in counts:
            wanted = prefer, prefer
        self.size = wanted
        others = [row for row, size in found.items() if size != wanted]
        if others and self.on_bad_record == "raise":
            raise self._another_size(others[0], found[others[0]])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image, uint8 RGB ``[3, H, W]``, and its identity.

        Raises:
            QDGSError: The image cannot be used, unless it is to be skipped.
            IndexError: There are fewer images.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        for step in range(len(self)):
            row = (index + step) % len(self)
            try:
                image, label = self.load(row)
                if self.size not in (None, size := (image.shape[1], image.shape[2])):
                    raise self._another_size(row, size)
                return image, label
            except self.error as error:
                if self.on_bad_record == "raise":
                    raise
                if row not in self.bad_rows:
                    self.bad_rows.add(row)
                    warnings.warn(f"Skipped: {error}", stacklevel=2)
        raise self.error(f"{self.describe()} has no image that can be read.")

    def _another_size(self, row: int, size: tuple[int, int]) -> QDGSError:
        """Name an image that no batch can hold, and the way to bring all to one size."""
        assert self.size is not None
        height, width = self.size
        return self.error(
            f"{self.source(row)} has {size[1]} x {size[0]} pixels where others have {width} x "
            f"{height}; bring all to one size: qdgs data pack --source {self.describe()} --output "
            f"NEW --size {min(height, width)}."
        )
