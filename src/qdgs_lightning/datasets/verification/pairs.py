"""Pairs of face images, of one person or of two, for measuring verification."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.datasets.alignment import AlignmentError, align_face
from qdgs_lightning.datasets.image_decoding import ImageDecodingError, decode_rgb
from qdgs_lightning.datasets.resizing import ResizingError, fit_square
from qdgs_lightning.errors import QDGSError


class VerificationDataError(QDGSError):
    """A verification set that is damaged, unsafe, incomplete or of another kind."""


class ImageSource(Protocol):
    """Where the images of a set come from; can be handed to other processes."""

    def __len__(self) -> int:
        """How many there are."""

    def load(self, index: int) -> Tensor:
        """Return one, uint8 RGB ``[3, H, W]``; raises a `QDGSError` or an `OSError`."""

    def encoded(self, index: int) -> bytes | None:
        """Return its file as it is kept; None where an image is made of the file first."""

    def describe(self, index: int) -> str:
        """Say where it is."""


class VerificationPairs(Dataset[tuple[Tensor, int]]):
    """The images of a verification set, each once, and the pairs that they form.

    As a dataset it yields images, so that one that stands in several pairs is embedded once.
    They are decoded when they are asked for.

    Args:
        name: What results are reported under.
        source: Where the images come from.
        pairs: Which two images form each pair, int64, shape ``[n, 2]``.
        is_same: Whether a pair is of one person, bool, shape ``[n]``.
        image_size: Side of the images; those of another size are resized by `fit_square`.

        dialect: The list of pairs and how it was read, in words; empty where there is none.
        people: Whom each image shows, int64, shape ``[len(source)]``; None where it is not known.

    Attributes:
        name: As above.
        dialect: As above.
        pairs: As above; their order is that of the folds.
        is_same: As above.
        image_size: As above.
        people: As above.

    Raises:
        VerificationDataError: There is no pair, or shapes differ.

    Example:
        >>> lfw = load_verification_pairs("faces_webface_112x112/lfw.bin")
        >>> len(lfw), len(lfw.pairs)
        (7701, 6000)
        >>> image, index = lfw[0]  # uint8 RGB [3, 112, 112]
        >>> distances = (embeddings[lfw.pairs[:, 0]] - embeddings[lfw.pairs[:, 1]]).square().sum(1)
    """

    def __init__(
        self,
        name: str,
        source: ImageSource,
        *,
        pairs: Tensor,
        is_same: Tensor,
        image_size: int = 112,
        dialect: str = "",
        people: Tensor | None = None,
    ) -> None:
        if image_size < 1:
            raise VerificationDataError(
                f"image_size is {image_size}; give a positive number of pixels."
            )
        if len(pairs) == 0 or pairs.shape != (len(is_same), 2):
            raise VerificationDataError(
                f"The verification set {name} has pairs of shape {tuple(pairs.shape)} and "
                f"{len(is_same)} labels; give [n, 2] and n, at least 1."
            )
        self.name = name
        self.pairs = pairs
        self.is_same = is_same
        self.image_size = image_size
        self.dialect = dialect
        self.people = people
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image, uint8 RGB ``[3, image_size, image_size]``, and its index.

        Raises:
            VerificationDataError: The image is missing or damaged.
            IndexError: There are fewer images.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        try:
            return fit_square(self._source.load(index), self.image_size), index
        except (ImageDecodingError, AlignmentError, ResizingError, OSError) as error:
            raise VerificationDataError(
                f"Image {index} of {self.name}, {self._source.describe(index)}, is bad "
                f"({str(error).rstrip('.')}); bring another copy of the set."
            ) from error

    def encoded(self, index: int) -> bytes | None:
        """Return the file of an image as it is kept, None where images are aligned first.

        Raises:
            VerificationDataError: It cannot be read.
        """
        try:
            return self._source.encoded(index)
        except OSError as error:
            raise VerificationDataError(
                f"Image {index} of {self.name}, {self.describe(index)}, cannot be read: "
                f"{error.strerror}."
            ) from error

    def describe(self, index: int) -> str:
        """Say where an image is."""
        return self._source.describe(index)


class ImageFiles:
    """Image files, decoded, and aligned where landmarks are given.

    Args:
        paths: The files.
        landmarks: Of each, ``[n, 5, 2]`` as `align_face` takes them; None for aligned images.
        size: Side of the images that are aligned.
    """

    def __init__(
        self, paths: Sequence[Path], *, landmarks: Tensor | None = None, size: int = 112
    ) -> None:
        # One array and no object for each file: worker processes would copy those bit by bit.
        self._paths = np.array([str(path) for path in paths])
        self._landmarks = landmarks
        self._size = size

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int) -> Tensor:
        """Return an image, uint8 RGB ``[3, H, W]``."""
        image = decode_rgb(self._file(index))
        if self._landmarks is None:
            return image
        return align_face(image, self._landmarks[index], size=self._size)

    def encoded(self, index: int) -> bytes | None:
        """Return the file, if it is the image as it is."""
        return self._file(index) if self._landmarks is None else None

    def _file(self, index: int) -> bytes:
        return Path(self._paths[index]).read_bytes()

    def describe(self, index: int) -> str:
        """Name the file."""
        return str(self._paths[index])


def unique_pairs(items: Sequence[object]) -> tuple[list[int], Tensor]:
    """Number images in the order of their first appearance.

    Args:
        items: What tells images apart, two for each pair, hashable.

    Returns:
        Where each image appears first, and the pairs, int64 ``[n, 2]``.
    """
    numbers: dict[object, int] = {}
    first: list[int] = []
    pairs = []
    for place, item in enumerate(items):
        number = numbers.setdefault(item, len(numbers))
        if number == len(first):
            first.append(place)
        pairs.append(number)
    return first, torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
