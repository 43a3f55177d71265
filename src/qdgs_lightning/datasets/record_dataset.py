"""Face images in RecordIO files, as training sets such as CASIA-WebFace are handed round."""

import warnings
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import ImageReadMode, decode_image

from qdgs_lightning.datasets.record_index import RecordIndex, read_index, rebuild_index
from qdgs_lightning.datasets.recordio import Record, RecordFile, RecordIOError


class RecordIODataset(Dataset[tuple[Tensor, int]]):
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
            ``raise``, or ``skip``, which takes the next good image in its place and warns once.

    Attributes:
        num_classes: How many identities there are.
        keys: Keys of the images, int64, shape ``[n]``.

    Raises:
        RecordIOError: A file is missing or damaged, or `property` and the records disagree.

    Example:
        >>> image, label = RecordIODataset("faces_webface_112x112")[0]
        >>> image.shape, image.dtype  # RGB
        (torch.Size([3, 112, 112]), torch.uint8)
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "train",
        on_bad_record: Literal["raise", "skip"] = "raise",
    ) -> None:
        if on_bad_record not in ("raise", "skip"):
            raise RecordIOError(f"on_bad_record is {on_bad_record!r}; give raise or skip.")
        self.root = Path(root)
        self.on_bad_record = on_bad_record
        self.bad_keys: set[int] = set()
        self._file = RecordFile(self.root / f"{name}.rec")
        self._index = _open_index(self.root / f"{name}.idx", self._file)
        first, num_identities = self._layout()
        keys = self._index.keys
        self.keys = keys[(keys > 0) & (keys < first)] if first else keys
        if len(self.keys) == 0:
            raise RecordIOError(f"{self._file.path} holds no image; bring another copy.")
        self.num_classes = num_identities or int(self.labels.max()) + 1
        self._check_property()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image, uint8 RGB ``[3, H, W]``, and its identity.

        Raises:
            RecordIOError: The record is damaged, unless it is to be skipped.
            IndexError: There are fewer images.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        for step in range(len(self)):
            key = int(self.keys[(index + step) % len(self)])
            try:
                return self._load(key)
            except RecordIOError as error:
                if self.on_bad_record == "raise":
                    raise
                if key not in self.bad_keys:
                    self.bad_keys.add(key)
                    warnings.warn(f"Skipped: {error}", stacklevel=2)
        raise RecordIOError(f"{self._file.path} has no record that can be read.")

    @cached_property
    def labels(self) -> Tensor:
        """The identity of every image, int64, shape ``[n]``; -1 where a label is no identity."""
        places = np.searchsorted(self._index.keys, self.keys)
        offsets = self._index.offsets[places]
        labels, known = self._file.scalar_headers(offsets)
        for row in np.flatnonzero(~known):
            labels[row] = self._record(int(self.keys[row])).labels[0]
        whole = np.isfinite(labels) & (labels >= 0) & (labels == np.floor(labels))
        return torch.from_numpy(np.where(whole, labels, -1).astype(np.int64))

    def _layout(self) -> tuple[int, int]:
        """Return the first key that is no image's and the number of identities, or zeros."""
        if self._index.offset(0) is None or not (head := self._record(0)).is_metadata:
            return 0, 0
        low, high = (int(label) for label in head.labels[:2])
        # Beyond 2^24 float32 rounds them: what the records are says where they begin.
        keys = self._index.keys
        place = int(np.clip(np.searchsorted(keys, low), 1, len(keys) - 1))
        while place > 1 and self._record(int(keys[place - 1])).is_metadata:
            place -= 1
        while place < len(keys) and not self._record(int(keys[place])).is_metadata:
            place += 1
        if place == len(keys):
            return int(keys[-1]) + 1, 0
        rounded = high - low if high < 2**24 else len(keys) - place
        return int(keys[place]), min(rounded, len(keys) - place)

    def _load(self, key: int) -> tuple[Tensor, int]:
        """Decode one image."""
        record = self._record(key)
        label = record.labels[0]
        if not (label.is_integer() and 0 <= label < self.num_classes):
            raise self._error(key, f"its label is {label:g}, not one of {self.num_classes}")
        if not record.payload:
            raise self._error(key, "it holds no image")
        data = torch.frombuffer(bytearray(record.payload), dtype=torch.uint8)
        try:
            image: Tensor = decode_image(data, mode=ImageReadMode.RGB)
        except RuntimeError as error:
            raise self._error(key, f"its image cannot be decoded: {error}") from error
        return image, int(label)

    def _record(self, key: int) -> Record:
        """Read the record of a key."""
        offset = self._index.offset(key)
        assert offset is not None, key
        data = self._file.read(offset)
        try:
            return Record.from_bytes(data)
        except RecordIOError as error:
            raise self._error(key, str(error)) from error

    def _check_property(self) -> None:
        """Compare the number of classes with that in the file ``property``, where there is one."""
        path = self.root / "property"
        if not path.exists():
            return
        try:
            said = int(path.read_text().split(",")[0])
        except (OSError, ValueError) as error:
            raise RecordIOError(
                f"{path} does not begin with a number of classes ({error}); mend or remove it."
            ) from error
        if said != self.num_classes:
            raise RecordIOError(
                f"{path} says {said} classes and {self._file.path} has {self.num_classes}; mend "
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
    with Progress(
        TextColumn(f"Indexing {file.path.name}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        transient=True,
    ) as progress:
        task = progress.add_task("", total=len(file.data))
        index = rebuild_index(file, lambda done: progress.update(task, completed=done))
    if missing:
        try:
            index.save(path)
        except OSError as error:
            warnings.warn(f"The index of {file.path} is not kept: {error}.", stacklevel=4)
    return index
