"""What training sets of faces have in common, however they are kept."""

import warnings
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.errors import QDGSError

OnBadRecord = Literal["raise", "skip"]


class FaceImages(Dataset[tuple[Tensor, int]], ABC):
    """Images with identities, of which damaged ones end the training or are passed over.

    Args:
        on_bad_record: What to do about an image that cannot be used: ``raise``, or ``skip``, which
            takes the next good image in its place and warns, once in each process that loads.

    Attributes:
        num_classes: How many identities there are.
        bad_rows: Images that were skipped in this process.

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

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def load(self, row: int) -> tuple[Tensor, int]:
        """Decode an image, or raise an `error` that says what is wrong with it."""

    @abstractmethod
    def describe(self) -> str:
        """Say where the images are."""

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
                return self.load(row)
            except self.error as error:
                if self.on_bad_record == "raise":
                    raise
                if row not in self.bad_rows:
                    self.bad_rows.add(row)
                    warnings.warn(f"Skipped: {error}", stacklevel=2)
        raise self.error(f"{self.describe()} has no image that can be read.")
