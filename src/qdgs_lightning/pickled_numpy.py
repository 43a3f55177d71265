"""What stands in for numpy in pickles that are read as data, of numpy 1 and 2."""

import math
import struct

from qdgs_lightning.pickles import Call, Name, PickleError, Span

_FORMATS = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "u1": "B", "b1": "?"}
_MAX_DIMENSIONS = 4


class Dtype:
    """Stands in for ``numpy.dtype``.

    Attributes:
        format: The same for `struct`, without the byte order.
    """

    def __init__(self, name: object, *_: object) -> None:
        text = name.decode("latin1") if isinstance(name, bytes) else name
        if not isinstance(text, str) or text not in _FORMATS:
            raise PickleError("it holds numbers of an unknown kind")
        self.format = _FORMATS[text]

    def build(self, state: object) -> None:
        """Take the byte order, which says little-endian."""
        orders = ("<", "|", b"<", b"|")
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in orders:
            raise PickleError("it holds numbers of a big-endian machine")


class Array:
    """Stands in for ``numpy.ndarray``.

    Attributes:
        dtype: What the numbers are.
        data: Their bytes, in the order in which they lie in memory, or where these stand in the
            file; empty until the pickle has said it.
    """

    def __init__(self) -> None:
        self.dtype = Dtype("u1")
        self.data: bytes | Span = b""

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
        if not isinstance(dtype, Dtype) or not isinstance(data, bytes | Span):
            raise PickleError("it is damaged: an array without numbers")
        if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
            raise PickleError("it is damaged: an array without a shape")
        length = data.length if isinstance(data, Span) else len(data)
        if not all(type(n) is int and 0 <= n <= length for n in shape):
            raise PickleError("it is damaged: an array of an impossible shape")
        if math.prod(shape) * struct.calcsize(dtype.format) != length:
            raise PickleError("it is damaged: an array of another size than it says")
        self.dtype, self.data = dtype, data


def scalar(dtype: object, data: object) -> float | int | bool:
    """Stand in for numpy's scalars."""
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise PickleError("it is damaged: a number without a kind")
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
ARRAY_NAMES: frozenset[Name] = frozenset({("numpy", "ndarray")})
