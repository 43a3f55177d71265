"""The index of a RecordIO file: which record has which key, and which of them are images."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdgs_lightning.datasets.records.file import Record, RecordFile, RecordIOError
from qdgs_lightning.utils.atomic_files import replacing

_PROBES = 64


class RecordLayout(NamedTuple):
    """Which records are images.

    Attributes:
        keys: Keys of the images in ascending order, int64, shape ``[n]``.
        num_identities: As the records that describe others say; 0 where there are none.
        has_metadata: Whether the record of key 0 describes others.
    """

    keys: NDArray[np.int64]
    num_identities: int
    has_metadata: bool


@dataclass(frozen=True, kw_only=True)
class RecordIndex:
    """Where records begin.

    Attributes:
        keys: In ascending order, shape ``[n]``.
        offsets: Bytes from the start of the file, shape ``[n]``.
    """

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def offset(self, key: int) -> int | None:
        """Return where the record of a key begins; None where there is no such key."""
        place = int(np.searchsorted(self.keys, key))
        found = place < len(self.keys) and self.keys[place] == key
        return int(self.offsets[place]) if found else None

    def save(self, path: Path) -> None:
        """Write the ``.idx`` file that mxnet reads: a key, a tab and an offset on each line."""
        order = np.argsort(self.offsets)
        lines = zip(self.keys[order].tolist(), self.offsets[order].tolist(), strict=True)
        # Every process that opens records without an index makes it.
        with replacing(path, writer=str(os.getpid())) as unfinished:
            unfinished.write_text("".join(f"{key}\t{offset}\n" for key, offset in lines))


def read_index(path: Path, file: RecordFile) -> RecordIndex:
    """Read a ``.idx`` file and make sure that it belongs to its RecordIO file.

    Some records are looked up, the one furthest back among them, which must end with the file.

    Args:
        path: The ``.idx`` file.
        file: The RecordIO file.

    Raises:
        RecordIOError: It is damaged, or of another file.
    """
    index = parse_index(path)
    behind = np.sort(index.offsets)
    for place in np.unique(np.linspace(0, len(behind) - 1, _PROBES).astype(np.int64)):
        offset = int(behind[place])
        if offset >= len(file.data):
            raise RecordIOError(
                f"{path} is of another file than {file.path}, which ends before byte {offset}."
            )
        following = int(behind[place + 1]) if place + 1 < len(behind) else len(file.data)
        if file.end(offset) != following:
            raise RecordIOError(f"{path} is of another file than {file.path}.")
    return index


def parse_index(path: Path) -> RecordIndex:
    """Read a ``.idx`` file without a look at its RecordIO file.

    Raises:
        RecordIOError: It is damaged, or names a key or a record twice.
    """
    try:
        numbers = np.array(path.read_bytes().split(), dtype=np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise RecordIOError(f"{path} is no index: {error}.") from error
    if len(numbers) == 0 or len(numbers) % 2:
        raise RecordIOError(f"{path} is no index: it holds {len(numbers)} numbers.")
    keys, offsets = numbers.reshape(-1, 2).T
    for name, column in (("key", keys), ("record at byte", offsets)):
        found, counts = np.unique(column, return_counts=True)
        if (counts > 1).any():
            raise RecordIOError(
                f"{path} names a key or a record twice: {name} {found[counts > 1][0]}."
            )
    order = np.argsort(keys)
    return RecordIndex(keys=keys[order], offsets=offsets[order])


def rebuild_index(file: RecordFile, progress: Callable[[int], None] | None = None) -> RecordIndex:
    """Find all records by going through a file.

    A record's key is the id in its header, as long as no two are alike; otherwise its place.

    Args:
        file: The RecordIO file.
        progress: Called with the number of bytes behind, once for each record.

    Raises:
        RecordIOError: The file is damaged; the sentence names the place.
    """
    offsets, keys = [], []
    for offset in file.scan(progress):
        offsets.append(offset)
        try:
            keys.append(Record.from_bytes(file.read(offset)).key)
        except RecordIOError as error:
            raise RecordIOError(
                f"{file.path} holds something else than images at byte {offset}: {error}"
            ) from error
    return index_by_ids(keys, offsets)


def index_by_ids(ids: Sequence[int], offsets: Sequence[int]) -> RecordIndex:
    """Take the ids in records' headers for their keys; where two are alike, their places.

    Args:
        ids: Of all records, in their order in the file.
        offsets: Where they begin.
    """
    found = np.array(ids, dtype=np.uint64).astype(np.int64)
    if len(np.unique(found)) < len(found) or (found < 0).any():
        found = np.arange(len(offsets), dtype=np.int64)
    order = np.argsort(found)
    return RecordIndex(keys=found[order], offsets=np.array(offsets, dtype=np.int64)[order])


def read_record(file: RecordFile, index: RecordIndex, key: int) -> Record:
    """Read the record of a key that is in the index.

    Raises:
        RecordIOError: It is damaged.
    """
    offset = index.offset(key)
    assert offset is not None, key
    data = file.read(offset)
    try:
        return Record.from_bytes(data)
    except RecordIOError as error:
        raise RecordIOError(
            f"Record {key} of {file.path} is bad ({str(error).rstrip('.')}); bring another copy."
        ) from error


def find_layout(file: RecordFile, index: RecordIndex) -> RecordLayout:
    """Find out which records are images.

    Raises:
        RecordIOError: A record that was looked at is damaged.
    """
    keys = index.keys
    if index.offset(0) is None or not (head := read_record(file, index, 0)).is_metadata:
        return RecordLayout(keys, 0, False)
    low, high = (int(label) if np.isfinite(label) else 0 for label in head.labels[:2])
    # Beyond 2^24 float32 rounds them: what the records are says where they begin.
    place = int(np.clip(np.searchsorted(keys, low), 1, len(keys)))
    while place > 1 and read_record(file, index, int(keys[place - 1])).is_metadata:
        place -= 1
    while place < len(keys) and not read_record(file, index, int(keys[place])).is_metadata:
        place += 1
    rounded = high - low if high < 2**24 else len(keys) - place
    images = keys[:place]
    num_identities = max(0, min(rounded, len(keys) - place))
    return RecordLayout(images[images > 0], num_identities, True)


def read_property(path: Path) -> list[int]:
    """Read the file ``property``: numbers of classes, rows and columns, with commas between them.

    Returns:
        The numbers, one to three; nothing where there is no such file.

    Raises:
        RecordIOError: It does not hold such numbers.
    """
    if not path.exists():
        return []
    try:
        return [int(number) for number in path.read_text().split(",")[:3]]
    except (OSError, ValueError) as error:
        raise RecordIOError(
            f"{path} does not begin with a number of classes, a height and a width ({error}); "
            "mend or remove it."
        ) from error
