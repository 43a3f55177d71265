"""Images of any dataset as a RecordIO file that the tools of face recognition read."""

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor

from qdgs_lightning.datasets.image_decoding import ImageDecodingError, decode_rgb
from qdgs_lightning.datasets.image_header import ImageHeader, image_header
from qdgs_lightning.datasets.records.file import RecordIOError
from qdgs_lightning.datasets.records.writer import write_record_dataset
from qdgs_lightning.datasets.resizing import ResizingError, fit_square
from qdgs_lightning.errors import QDGSError


class LabelledImages(Protocol):
    """Any dataset of ``(uint8 RGB [3, H, W], label)``, of which the length is known."""

    def __len__(self) -> int:
        """How many images there are."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One of them, the same whenever it is asked for."""


@runtime_checkable
class ImageFiles(Protocol):
    """A dataset that hands out image files as they are, and labels all at once."""

    labels: Tensor

    def encoded(self, index: int) -> bytes:
        """The contents of an image file."""

    def source(self, index: int) -> str:
        """Where it is."""


def pack_dataset(
    dataset: LabelledImages,
    root: Path,
    *,
    name: str = "train",
    size: int | None = None,
    quality: int = 95,
    progress: Callable[[], None] | None = None,
) -> None:
    """Write a dataset as ``train.rec``, ``train.idx`` and ``property``: all of them, or none.

    Images are grouped by label, and stay in their order otherwise; labels are numbered from 0 on
    in ascending order. Files of `RecordIODataset` and `FaceFolderDataset` are copied byte by byte
    unless a size is given; other images become JPEG files.

    A dataset without an attribute ``labels`` is gone through twice, the first time for its labels.

    Args:
        dataset: Of ``(uint8 RGB [3, H, W], label)``, for example of generated images.
        root: The folder; made if need be.
        name: Stem of the first two files.
        size: Side that the shorter side of each image is brought to; of the longer one, the middle
            is kept.
        quality: Of the JPEG files that are made, 1 to 100.
        progress: Called after each image.

    Raises:
        QDGSError: The dataset is empty, or one of its images cannot be used or is not of the size
            of the first; the sentence names it.
        OSError: The folder cannot be written.

    Example:
        >>> pack_dataset(FaceFolderDataset("photos"), Path("packed"), size=112)
    """
    labels = labels_of(dataset)
    if len(labels) == 0:
        raise RecordIOError(f"There is no image to write to {root}.")
    if (labels < 0).any() and not isinstance(dataset, ImageFiles):
        row = int((labels < 0).nonzero()[0])
        raise RecordIOError(f"Image {row} has the label {int(labels[row])}; give 0 or more.")
    rows = torch.argsort(labels, stable=True).tolist()
    known: list[int] = labels.tolist()
    first = _header(dataset, rows[0], _load(dataset, rows[0], known, size, quality))

    def files(group: Iterator[int]) -> Iterator[bytes]:
        for row in group:
            data = _load(dataset, row, known, size, quality)
            header = _header(dataset, row, data)
            if (header.height, header.width) != (first.height, first.width):
                raise RecordIOError(
                    f"Images differ in size, such as {_source(dataset, row)} with {header.width} x "
                    f"{header.height} pixels where others have {first.width} x {first.height}; "
                    "give a size to bring all to."
                )
            yield data
            if progress is not None:
                progress()

    groups = (files(group) for _, group in groupby(rows, key=known.__getitem__))
    write_record_dataset(root, groups, height=first.height, width=first.width, name=name)


def labels_of(dataset: LabelledImages) -> Tensor:
    """Return all labels of a dataset, int64, shape ``[n]``."""
    labels = getattr(dataset, "labels", None)
    if labels is None:
        labels = [dataset[row][1] for row in range(len(dataset))]
    return torch.as_tensor(labels, dtype=torch.int64)


def encode_jpeg(image: Tensor, *, quality: int = 95) -> bytes:
    """Encode an image as JPEG.

    Args:
        image: uint8 RGB, shape ``[3, H, W]``.
        quality: 1 to 100; 95 is what insightface's tools take.
    """
    file = BytesIO()
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def resized_jpeg(data: bytes, *, size: int, quality: int = 95) -> bytes:
    """Decode an image file, bring it to a size as `fit_square` does, and encode it as JPEG.

    Raises:
        ImageDecodingError: It cannot be decoded.
        ResizingError: No square can be cut from it.
    """
    return encode_jpeg(fit_square(decode_rgb(data), size), quality=quality)


def _load(
    dataset: LabelledImages, row: int, labels: list[int], size: int | None, quality: int
) -> bytes:
    """Return an image as a file."""
    if isinstance(dataset, ImageFiles):
        data = dataset.encoded(row)
        try:
            return data if size is None else resized_jpeg(data, size=size, quality=quality)
        except (ImageDecodingError, ResizingError) as error:
            raise _bad(dataset, row, error) from error
    image, label = dataset[row]
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
        raise RecordIOError(
            f"Image {row} is {image.dtype} of shape {list(image.shape)}; give uint8 RGB [3, H, W]."
        )
    if label != labels[row]:
        raise RecordIOError(
            f"Image {row} has the label {label} and had {labels[row]} before; give a dataset that "
            "is the same whenever it is asked."
        )
    return encode_jpeg(image if size is None else fit_square(image, size), quality=quality)


def _header(dataset: LabelledImages, row: int, data: bytes) -> ImageHeader:
    """Read the header of a file to be packed."""
    try:
        return image_header(data)
    except ImageDecodingError as error:
        raise _bad(dataset, row, error) from error


def _bad(dataset: LabelledImages, row: int, error: QDGSError) -> RecordIOError:
    """Say which image cannot be packed."""
    reason = str(error).rstrip(".")
    return RecordIOError(f"Cannot pack {_source(dataset, row)} ({reason}); remove or mend it.")


def _source(dataset: LabelledImages, row: int) -> str:
    """Say where an image is."""
    return dataset.source(row) if isinstance(dataset, ImageFiles) else f"image {row}"
