"""RecordIO, the container in which face datasets are handed round, without mxnet.

A file is a row of chunks, each of which starts at a multiple of four bytes::

    u32 magic 0xCED7230A | u32 kind << 29 | length | payload | zeros up to a multiple of four

Kind 0 is a whole record. Where a payload holds the magic at a multiple of four, a writer ends the
chunk there and leaves those four bytes out, so that readers can find chunks in damaged files: kinds
1, 2 and 3 are the first part of such a record, one between, and the last. Numbers are little-endian
(dmlc-core, ``include/dmlc/recordio.h``).

A record of an image begins with a header of 24 bytes, ``u32 flag, f32 label, u64 id, u64 id2``, and
where flag is not 0, with so many more f32 labels in place of the one (mxnet, ``recordio.py``).
"""

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from qdgs_lightning.errors import QDGSError

MAGIC = 0xCED7230A

_MAGIC_BYTES = struct.pack("<I", MAGIC)
_CHUNK = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_LENGTH_BITS = 29
_MAX_LENGTH = 2**_LENGTH_BITS - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


class RecordIOError(QDGSError):
    """A RecordIO file, an index or one record that cannot be read or written."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record with the header that mxnet writes.

    Attributes:
        labels: The scalar label alone, or all labels of a vector.
        payload: What follows the header, for example the bytes of a JPEG file.
        key: The first id of the header, which is the key in the index.
        second_id: The other one, which means nothing.
        is_vector: Whether the file keeps the labels as a vector.
    """

    labels: tuple[float, ...]
    payload: bytes
    key: int = 0
    second_id: int = 0
    is_vector: bool = False

    @property
    def is_metadata(self) -> bool:
        """Whether this describes others: two labels or more, and nothing besides."""
        return self.is_vector and len(self.labels) >= 2 and not self.payload

    def to_bytes(self) -> bytes:
        """Return header and payload."""
        if not self.is_vector:
            return _HEADER.pack(0, self.labels[0], self.key, self.second_id) + self.payload
        count = len(self.labels)
        header = _HEADER.pack(count, 0.0, self.key, self.second_id)
        return header + struct.pack(f"<{count}f", *self.labels) + self.payload

    @classmethod
    def from_bytes(cls, data: bytes) -> "Record":
        """Take header and payload apart.

        Raises:
            RecordIOError: The data ends within the header.
        """
        if len(data) < _HEADER.size:
            raise RecordIOError(f"A record has {len(data)} bytes, fewer than its header.")
        flag, label, key, second = _HEADER.unpack_from(data)
        if flag == 0:
            payload = data[_HEADER.size :]
            return cls(labels=(label,), payload=payload, key=key, second_id=second)
        end = _HEADER.size + 4 * flag
        if len(data) < end:
            raise RecordIOError(f"A record has {len(data)} bytes, fewer than its {flag} labels.")
        labels = struct.unpack_from(f"<{flag}f", data, _HEADER.size)
        return cls(labels=labels, payload=data[end:], key=key, second_id=second, is_vector=True)


class RecordFile:
    """A RecordIO file to read from, mapped into memory when it is first read.

    Objects can be handed to worker processes, by fork or by spawn: each maps the file itself.

    Args:
        path: The ``.rec`` file.

    Example:
        >>> file = RecordFile(Path("train.rec"))
        >>> record = Record.from_bytes(file.read(0))
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data: mmap.mmap | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave the mapping to the process that it belongs to."""
        return {"path": self.path, "_data": None}

    @property
    def data(self) -> mmap.mmap:
        """The whole file.

        Raises:
            RecordIOError: It cannot be read or is empty.
        """
        if self._data is None:
            try:
                with self.path.open("rb") as file:
                    self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise RecordIOError(f"{self.path.absolute()} cannot be read: {reason}.") from error
        return self._data

    def read(self, offset: int) -> bytes:
        """Return the record that begins at an offset.

        Raises:
            RecordIOError: No record begins there, or the file ends within it.
        """
        kind, payload, end = self._chunk(offset)
        if kind == _WHOLE:
            return self.data[payload]
        if kind != _FIRST:
            raise self._error(offset, "a record's later part stands where one should begin")
        parts = [self.data[payload]]
        while kind != _LAST:
            kind, payload, end = self._chunk(end)
            if kind not in (_MIDDLE, _LAST):
                raise self._error(offset, "its last part is missing")
            parts.append(self.data[payload])
        return _MAGIC_BYTES.join(parts)

    def end(self, offset: int) -> int:
        """Return where the record ends that begins at an offset.

        Raises:
            RecordIOError: No record begins there, or the file ends within it.
        """
        kind, _, end = self._chunk(offset)
        if kind in (_MIDDLE, _LAST):
            raise self._error(offset, "a record's later part stands where one should begin")
        while kind in (_FIRST, _MIDDLE):
            kind, _, end = self._chunk(end)
        return end

    def scan(self, progress: Callable[[int], None] | None = None) -> Iterator[int]:
        """Yield where every record begins, from the first to the last.

        Args:
            progress: Called with the number of bytes behind, once for each record.

        Raises:
            RecordIOError: Something else than records is in the file, or it ends within one.
        """
        offset, size = 0, len(self.data)
        while offset < size:
            yield offset
            offset = self.end(offset)
            if progress is not None:
                progress(offset)

    def next_magic(self, offset: int) -> int:
        """Return the first place from an offset on where a record may begin, or the file's end.

        Such a search finds the records behind a damaged one.
        """
        data = self.data
        while (offset := data.find(_MAGIC_BYTES, offset)) >= 0:
            word = data[offset + 4 : offset + 8]
            kind = int.from_bytes(word, "little") >> _LENGTH_BITS
            if offset % 4 == 0 and kind in (_WHOLE, _FIRST):
                return offset
            offset += 1
        return len(data)

    def scalar_headers(
        self, offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the first label of many records, and whether each was read.

        Args:
            offsets: Where records begin, shape ``[n]``.

        Returns:
            Labels ``[n]``, and a mask ``[n]`` of those that lie in one piece; the others must be
            read one by one.
        """
        words = np.frombuffer(self.data, dtype="<u4", count=len(self.data) // 4)
        at = offsets // 4
        fits = (offsets % 4 == 0) & (at >= 0) & (at + 9 <= len(words))
        at = np.where(fits, at, 0)
        labels = np.zeros(len(at), np.float32)
        ok = fits & (words[at] == MAGIC) & (words[at + 1] < 2**_LENGTH_BITS)
        length = words[at + 1] & _MAX_LENGTH
        flag = words[at + 2]
        ok &= length >= _HEADER.size + 4 * (flag > 0)
        where = at + np.where(flag > 0, 8, 3)
        labels[ok] = words[where[ok]].view(np.float32)
        return labels, ok

    def _chunk(self, offset: int) -> tuple[int, slice, int]:
        """Return kind and place of the payload of a chunk, and where the next one begins."""
        data = self.data
        if not 0 <= offset <= len(data) - _CHUNK.size:
            raise self._error(offset, f"the file has {len(data)} bytes")
        magic, word = _CHUNK.unpack_from(data, offset)
        if magic != MAGIC:
            raise self._error(offset, "no record begins there")
        kind, start, length = word >> _LENGTH_BITS, offset + _CHUNK.size, word & _MAX_LENGTH
        if kind > _LAST:
            raise self._error(offset, f"its kind is {kind}")
        if start + length > len(data):
            raise self._error(offset, f"the file ends {start + length - len(data)} bytes too early")
        return kind, slice(start, start + length), start + length + -length % 4

    def _error(self, offset: int, reason: str) -> RecordIOError:
        """Say which record is damaged, and how."""
        return RecordIOError(
            f"{self.path} has no whole record at byte {offset} ({reason}); bring another copy."
        )


def write_record(file: BinaryIO, data: bytes) -> int:
    """Append a record.

    Args:
        file: Open for writing, at a multiple of four bytes.
        data: Header and payload, as of `Record.to_bytes`.

    Returns:
        Where it begins.

    Raises:
        RecordIOError: It is too long for the format.
    """
    if len(data) > _MAX_LENGTH:
        raise RecordIOError(f"A record has {len(data)} bytes; the format takes {_MAX_LENGTH}.")
    offset = file.tell()
    parts = _split(data)
    for index, part in enumerate(parts):
        if len(parts) == 1:
            kind = _WHOLE
        elif index == 0:
            kind = _FIRST
        else:
            kind = _LAST if index == len(parts) - 1 else _MIDDLE
        file.write(_CHUNK.pack(MAGIC, kind << _LENGTH_BITS | len(part)))
        file.write(part + bytes(-len(part) % 4))
    return offset


def _split(data: bytes) -> Sequence[bytes]:
    """Cut data wherever the magic stands at a multiple of four bytes, and leave it out."""
    parts, start, found = [], 0, data.find(_MAGIC_BYTES)
    while found >= 0:
        if found % 4 == 0:
            parts.append(data[start:found])
            start = found + 4
            found = data.find(_MAGIC_BYTES, start)
        else:
            found = data.find(_MAGIC_BYTES, found + 1)
    return [*parts, data[start:]]
