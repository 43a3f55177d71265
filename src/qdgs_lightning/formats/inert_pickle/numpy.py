"""What stands in for numpy in pickles that are read as data, of numpy 1 and 2."""

import math
import re
import struct

from qdgs_lightning.formats.inert_pickle.machine import Call, Name, PickleError, Span

_FORMATS = {
    "f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b",
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?",
}  # fmt: skip
_OBJECTS = ("O8", "O4")
_STRINGS = re.compile(r"S([0-9]{1,9})")
_MAX_DIMENSIONS = 4


class Dtype:
    """Stands in for ``numpy.dtype``.

    Attributes:
        format: The same for `struct`, without the byte order: of numbers one letter, of byte
            strings of fixed width ``<width>s``, of objects ``O``.
        size: Bytes of one element in a buffer; 0 for objects, which have none.
    """

    def __init__(self, name: object, *_: object) -> None:
        text = name.decode("latin1") if isinstance(name, bytes) else name
        if isinstance(text, str) and (strings := _STRINGS.fullmatch(text)):
            self.size = int(strings[1])
            self.format = f"{self.size}s"
        elif text in _OBJECTS:
            self.format, self.size = "O", 0
        elif isinstance(text, str) and text in _FORMATS:
            self.format = _FORMATS[text]
            self.size = struct.calcsize(self.format)
        else:
            raise PickleError("it holds numbers of an unknown kind")

    def build(self, state: object) -> None:
        """Take the byte order, which says little-endian."""
        orders = ("<", "|", b"<", b"|")
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in orders:
            raise PickleError("it holds numbers of a big-endian machine")


class Array:
    """Stands in for ``numpy.ndarray``.

    Attributes:
        dtype: What the numbers are.
        shape: Sizes along its axes.
        data: Bytes of the numbers, in the order in which they lie in memory, or where these stand
            in the file; a list of the elements where they are objects; empty until the pickle has
            said it.
    """

    def __init__(self) -> None:
        self.dtype = Dtype("u1")
        self.shape: tuple[int, ...] = (0,)
        self.data: bytes | Span | list[object] = b""

    def build(self, state: object) -> None:
        """Take version, shape, dtype, whether columns come first, and bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleError("it is damaged: an array without numbers")
        self._fill(state[4], state[2], state[1])

    @classmethod
    def of_buffer(cls, data: object, dtype: object, shape: object, _: object) -> "Array":
        """Stand in for ``_frombuffer``, which protocol 5 uses."""
        array = cls()
        array._fill(data, dtype, shape)
        return array

    def _fill(self, data: object, dtype: object, shape: object) -> None:
        if not isinstance(dtype, Dtype) or not isinstance(data, bytes | Span | list):
            raise PickleError("it is damaged: an array without numbers")
        if isinstance(data, list) != (dtype.format == "O"):
            raise PickleError("it is damaged: an array of another kind than it says")
        if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
            raise PickleError("it is damaged: an array without a shape")
        length = data.length if isinstance(data, Span) else len(data)
        if not all(type(n) is int and 0 <= n <= length for n in shape):
            raise PickleError("it is damaged: an array of an impossible shape")
        if math.prod(shape) * (dtype.size or 1) != length:
            raise PickleError("it is damaged: an array of another size than it says")
        self.dtype, self.shape, self.data = dtype, shape, data


def scalar(dtype: object, data: object) -> float | int | bool:
    """Stand in for numpy's scalars."""
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise PickleError("it is damaged: a number without a kind")
    if dtype.format == "O" or dtype.format.endswith("s"):
        raise PickleError("it is damaged: a number of another kind")
    try:
        (value,) = struct.unpack(f"<{dtype.format}", data)
    except struct.error as error:
        raise PickleError("it is damaged: a number of another size") from error
    return value  # type: ignore[no-any-return]


def encode(text: object, encoding: object) -> bytes:
    """Stand in for ``_codecs.encode``: bytes in protocol 2, written by Python 3."""
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError("it is damaged: bytes in an unknown encoding")
    return text.encode("latin1")


def byte_array(data: object = b"", encoding: object = None) -> bytes | Span:
    """Stand in for ``bytearray``; what is read is never changed, so that bytes serve."""
    if isinstance(data, str) and encoding in ("latin-1", "latin1"):
        return encode(data, "latin1")
    if not isinstance(data, bytes | Span) or encoding is not None:
        raise PickleError("it is damaged: a bytearray of something else than bytes")
    return data


def _empty(*_: object) -> Array:
    """Stand in for ``_reconstruct``, which makes an array that gets its numbers afterwards."""
    return Array()


SCALAR_CALLS: dict[Name, Call] = {
    ("numpy", "dtype"): Dtype,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("_codecs", "encode"): encode,
}
ARRAY_CALLS: dict[Name, Call] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy.core.numeric", "_frombuffer"): Array.of_buffer,
    ("numpy._core.numeric", "_frombuffer"): Array.of_buffer,
}
BYTE_ARRAY_CALLS: dict[Name, Call] = {
    ("builtins", "bytearray"): byte_array,
    ("__builtin__", "bytearray"): byte_array,
}
ARRAY_NAMES: frozenset[Name] = frozenset({("numpy", "ndarray")})
