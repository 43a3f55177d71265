"""What the opcodes of pickles push: the readers of the arguments that stand behind them."""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any

File = IO[bytes] | mmap
Reader = Callable[[Any], Any]

_SHORT = 256  # bytes up to which a span would save nothing
# What `repr` of Python 2 writes between the quotes; never gone through twice.
_ESCAPED = re.compile(rb"(?:[^\\]++|\\[\\'nrt]|\\x[0-9a-f]{2})*+")


class PickleError(ValueError):
    """A pickle that is damaged, or that asks for more than data."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes that were left in the file."""

    start: int
    length: int


def _length(file: File, size: int, *, signed: bool) -> int:
    """Read how many bytes follow."""
    data = file.read(size)
    length = int.from_bytes(data, "little", signed=signed)
    if len(data) < size or length < 0:
        raise PickleError("it is damaged: a length that is none")
    return length


def _bytes_reader(size: int, *, signed: bool = False) -> Reader:
    """Make a reader of bytes whose length takes so many bytes; fewer are the last of a file."""

    def read(file: File) -> bytes:
        return file.read(_length(file, size, signed=signed))

    return read


def _span_reader(size: int, *, signed: bool = False) -> Reader:
    """Make a reader that leaves bytes in the file where they are many."""

    def read(file: mmap) -> bytes | Span:
        length, start = _length(file, size, signed=signed), file.tell()
        if length < _SHORT:
            return file.read(length)
        file.seek(start + length)  # a ValueError says that the file ends before
        return Span(start, length)

    return read


def _read_byte(file: File) -> int:
    """Read the argument that most opcodes have; an IndexError says that there is none."""
    return file.read(1)[0]


def _read_quoted(file: File) -> bytes:
    """Read a string that Python 2 wrote as its `repr`."""
    line = file.readline().rstrip(b"\r\n")
    quote, inner = line[:1], line[1:-1]
    if quote not in (b"'", b'"') or line[1:][-1:] != quote or not _ESCAPED.fullmatch(inner):
        raise PickleError("it is damaged: a string without its quotes, or with unknown escapes")
    return codecs.escape_decode(inner)[0]


# Where none is given here, that of pickletools serves. Those take strings of Python 2 for text; and
# a bytearray would have to be copied wherever it is used, as it can change.
READERS: dict[str, Reader] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_SET": lambda _: set(),
    "BININT1": _read_byte,
    "BINPUT": _read_byte,
    "BINGET": _read_byte,
    "STRING": _read_quoted,
    "SHORT_BINSTRING": _bytes_reader(1),
    "BINSTRING": _bytes_reader(4, signed=True),
    "BYTEARRAY8": _bytes_reader(8),
}
SPAN_READERS: dict[str, Reader] = {
    "SHORT_BINSTRING": _span_reader(1),
    "BINSTRING": _span_reader(4, signed=True),
    "SHORT_BINBYTES": _span_reader(1),
    "BINBYTES": _span_reader(4),
    "BINBYTES8": _span_reader(8),
    "BYTEARRAY8": _span_reader(8),
}
