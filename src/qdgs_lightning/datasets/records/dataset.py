"""Face images in RecordIO files, as training sets such as CASIA-WebFace are handed round."""

import warnings
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdgs_lightning.datasets.face_images import FaceImages, OnBadRecord
from qdgs_lightning.datasets.image_decoding import ImageDecodingError, decode_rgb
from qdgs_lightning.datasets.records.file import Record, RecordFile, RecordIOError
from qdgs_lightning.datasets.records.index import (
    RecordIndex,
    find_layout,
    read_index,
    read_property,
    read_record,
    rebuild_index,
)
from qdgs_lightning.utils.progress import progress

_PROBES = 1000
_DAMAGED = 0.01  # share of labels out of range up to which single records are damaged


class RecordIODataset(FaceImages):
    """The images of a folder with ``train.rec``, ``train.idx`` and ``property``.

    Two layouts are told apart by the record of key 0. insightface's tools write one there that
    holds no image but two numbers, the first key of further records, one for each identity, and
    the key after the last of those. Other tools (im2rec, CVLface) keep an image there like
    everywhere else.

    An index that is missing or of another file is made anew from the records, which takes a pass
    over the file; one that was missing is kept beside it if the folder can be written.

    Args:
        root: The folder.
        name: Stem of the two files.
        on_bad_record: What to do about an image that cannot be decoded or a label out of range:
            ``raise``, or ``skip``, which takes the next good image in its place and warns,
            once in each process that loads.

    Attributes:
        num_classes: How many identities there are.
        keys: Keys of the images, int64, shape ``[n]``.
        has_metadata: Whether the record of key 0 describes others.

    Raises:
        RecordIOError: A file is missing or damaged, or `property` and the records disagree.

    Example:
        >>> image, label = RecordIODataset("faces_webface_112x112")[0]
        >>> image.shape, image.dtype  # RGB
        (torch.Size([3, 112, 112]), torch.uint8)
    """

    error = RecordIOError

    def __init__(
        self, root: str | Path, *, name: str = "train", on_bad_record: OnBadRecord = "raise"
    ) -> None:
        super().__init__(on_bad_record=on_bad_record)
        self.root = Path(root)
        self._file = RecordFile(self.root / f"{name}.rec")
        self._index = _open_index(self.root / f"{name}.idx", self._file)
        self.keys, num_identities, self.has_metadata = find_layout(self._file, self._index)
        if len(self.keys) == 0:
            raise RecordIOError(f"{self._file.path} holds no image; bring another copy.")
        self.num_classes = num_identities or int(self.labels.max()) + 1
        self._check_property()

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def labels(self) -> Tensor:
        """The identity of every image, int64, shape ``[n]``; -1 where a label is no identity."""
        labels = self._labels_of(np.arange(len(self)))
        whole = np.isfinite(labels) & (labels >= 0) & (labels == np.floor(labels))
        return torch.from_numpy(np.where(whole, labels, -1).astype(np.int64))

    def _labels_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the labels of images as they stand in the file, shape ``[m]``."""
        keys = self.keys[rows]
        offsets = self._index.offsets[np.searchsorted(self._index.keys, keys)]
        labels, known = self._file.scalar_headers(offsets)
        for place in np.flatnonzero(~known):
            labels[place] = read_record(self._file, self._index, int(keys[place])).labels[0]
        return labels

    def record(self, index: int) -> Record:
        """Return the record of an image.

        Raises:
            RecordIOError: It is damaged, holds nothing, or its label is no whole number.
        """
        key = int(self.keys[index])
        record = read_record(self._file, self._index, key)
        label = record.labels[0]
        if not (label.is_integer() and label >= 0):
            raise self._error(key, f"its label is {label:g}, not one of {self.num_classes}")
        if not record.payload:
            raise self._error(key, "it holds no image")
        return record

    def source(self, index: int) -> str:
        """Say where an image is, for messages."""
        return f"record {self.keys[index]} of {self._file.path}"

    def encoded(self, index: int) -> bytes:
        """Return the contents of an image file.

        Raises:
            RecordIOError: As of `record`.
        """
        return self.record(index).payload

    def describe(self) -> str:
        """Name the file."""
        return str(self._file.path)

    def load(self, row: int) -> tuple[Tensor, int]:
        """Decode one image.

        Raises:
            RecordIOError: The record is damaged, or its label is none of the identities.
        """
        record = self.record(row)
        label = int(record.labels[0])
        if label >= self.num_classes:
            raise self._error(
                int(self.keys[row]), f"its label is {label}, not one of {self.num_classes}"
            )
        try:
            return decode_rgb(record.payload), label
        except ImageDecodingError as error:
            raise self._error(int(self.keys[row]), str(error)) from error

    def check(self, *, prefer: int | None = None) -> None:
        """Compare labels with the number of identities, and sizes as `FaceImages.check` does.

        Raises:
            RecordIOError: Labels have gaps or do not begin at 0, as in a set that was filtered, so
                that many lie beyond the number of identities; or sizes differ.
        """
        rows = np.linspace(0, len(self) - 1, min(len(self), _PROBES)).astype(int)
        labels = self._labels_of(rows)
        if (labels >= self.num_classes).mean() > _DAMAGED:
            raise RecordIOError(
                f"Labels of {self._file.path} run from {labels.min():g} to {labels.max():g} for "
                f"{self.num_classes} identities; number them anew from 0: qdgs data pack --source "
                f"{self._file.path} --output NEW."
            )
        super().check(prefer=prefer)

    def _check_property(self) -> None:
        """Compare the number of classes with that in the file ``property``, where there is one."""
        path = self.root / "property"
        said = read_property(path)
        if said and said[0] != self.num_classes:
            raise RecordIOError(
                f"{path} says {said[0]} classes and {self._file.path} has {self.num_classes}; mend "
                f"{path.name} or bring the file that belongs to it."
            )

    def _error(self, key: int, reason: str) -> RecordIOError:
        """Say which record is bad, and how."""
        return RecordIOError(
            f"Record {key} of {self._file.path} is bad ({reason.rstrip('.')}); bring another "
            "copy, or set on_bad_record to skip."
        )


def _open_index(path: Path, file: RecordFile) -> RecordIndex:
    """Read the index, or make it anew with a progress bar."""
    missing = not path.exists()
    if not missing:
        try:
            return read_index(path, file)
        except RecordIOError as error:
            warnings.warn(f"{error} Going through {file.path} instead.", stacklevel=4)
    doing = f"Indexing {file.path.name}"
    with progress(doing, len(file.data), unit="bytes", brief=True) as meter:
        index = rebuild_index(file, meter.update)
    if missing:
        try:
            index.save(path)
        except OSError as error:
            warnings.warn(f"The index of {file.path} is not kept: {error}.", stacklevel=4)
    return index
