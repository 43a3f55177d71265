"""Images and labels of a verification set, found in what a pickle held."""

from mmap import mmap

import numpy as np

from qdgs_lightning.formats.inert_pickle.machine import PickleError, Span
from qdgs_lightning.formats.inert_pickle.numpy import Array

Payload = bytes | Span
_LABELS = "bhiqBHIQefd?"  # kinds of numbers, as of `struct`


def images_and_labels(data: mmap, tree: object) -> tuple[list[Payload], list[bool]]:
    """Return the images of a set, two for each pair, and whether each pair is of one person.

    Read are a tuple, list, object array or dict of two values, of which one holds twice as many
    images as the other holds labels. Either is a list, tuple or array. An image is ``bytes``, a
    ``bytearray`` or an array of bytes; or all are one array of byte strings. Labels are true and
    false, 1 and 0, or 1 and -1, as whole numbers or as numbers with a point.

    Args:
        data: The file.
        tree: As `pickles.load` returns it.

    Raises:
        PickleError: It is anything else; the sentence names the first thing that is.
    """
    values = list(tree.values()) if isinstance(tree, dict) else _items(data, tree)
    if values is None or len(values) != 2:
        raise PickleError("it holds no pair of lists, images and labels")
    first, second = _items(data, values[0]), _items(data, values[1])
    if first is None or second is None:
        raise PickleError("it holds no pair of lists, images and labels")
    if isinstance(tree, dict) and 2 * len(first) == len(second):  # names of keys differ
        first, second = second, first
    if not second or len(first) != 2 * len(second):
        raise PickleError(
            f"it holds {len(first)} images and {len(second)} labels, where each label needs two"
        )
    return [_payload(item, place) for place, item in enumerate(first)], _labels(second)


def bytes_of(data: mmap, payload: Payload) -> bytes:
    """Return bytes that may have been left in the file."""
    if isinstance(payload, bytes):
        return payload
    return data[payload.start : payload.start + payload.length]


def _items(data: mmap, value: object) -> list[object] | None:
    """Return the elements of a list, tuple or array of one axis; None of anything else."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, Array) or len(value.shape) != 1:
        return None
    if isinstance(value.data, list):
        return value.data
    if value.dtype.format.endswith("s"):
        return _byte_strings(data, value.data, width=value.dtype.size)
    numbers = np.frombuffer(bytes_of(data, value.data), f"<{value.dtype.format}")
    return list(numbers.tolist())


def _byte_strings(data: mmap, buffer: Payload, *, width: int) -> list[object]:
    """Cut a buffer into byte strings, without the zeros that fill each up to the width."""
    whole = bytes_of(data, buffer)
    starts = range(0, len(whole), width) if width else range(0)
    return [whole[start : start + width].rstrip(b"\0") for start in starts]


def _payload(item: object, place: int) -> Payload:
    """Return the bytes of an image, or where they are."""
    if isinstance(item, Array) and item.dtype.format == "B" and not isinstance(item.data, list):
        item = item.data
    if not isinstance(item, bytes | Span):
        raise PickleError(f"its image {place} is no bytes")
    return item


def _labels(items: list[object]) -> list[bool]:
    """Return labels as true and false."""
    for place, item in enumerate(items):
        if not isinstance(item, int | float) or item not in (-1, 0, 1):
            raise PickleError(f"its label {place} is neither true nor false (1 and 0, or 1 and -1)")
    if 0 in items and -1 in items:
        raise PickleError("its labels are -1, 0 and 1, of which two can mean different people")
    return [item == 1 for item in items]
