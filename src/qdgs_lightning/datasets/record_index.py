"""The index of a RecordIO file: which record has which key, read or made anew."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qdgs_lightning.datasets.recordio import Record, RecordFile, RecordIOError
from qdgs_lightning.files import replacing

_PROBES = 64


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
        with replacing(path) as unfinished:
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
    try:
        numbers = np.array(path.read_bytes().split(), dtype=np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise RecordIOError(f"{path} is no index: {error}.") from error
    if len(numbers) == 0 or len(numbers) % 2:
        raise RecordIOError(f"{path} is no index: it holds {len(numbers)} numbers.")
    keys, offsets = numbers.reshape(-1, 2).T
    order = np.argsort(keys, kind="stable")
    index = RecordIndex(keys=keys[order], offsets=offsets[order])
    if (np.diff(index.keys) == 0).any() or len(np.unique(offsets)) < len(offsets):
        raise RecordIOError(f"{path} names a key or a record twice.")
    behind = np.sort(offsets)
    for place in np.unique(np.linspace(0, len(behind) - 1, _PROBES).astype(np.int64)):
        end = file.end(int(behind[place]))
        following = int(behind[place + 1]) if place + 1 < len(behind) else len(file.data)
        if end != following:
            raise RecordIOError(f"{path} is of another file than {file.path}.")
    return index


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
    found = np.array(keys, dtype=np.uint64).astype(np.int64)
    if len(np.unique(found)) < len(found) or (found < 0).any():
        found = np.arange(len(offsets), dtype=np.int64)
    order = np.argsort(found)
    return RecordIndex(keys=found[order], offsets=np.array(offsets, dtype=np.int64)[order])
