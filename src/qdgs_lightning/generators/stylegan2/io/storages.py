"""Tensors inside pickles: raw numbers, and checked views of them."""

import math
import struct
from dataclasses import dataclass
from io import BytesIO
from mmap import mmap
from typing import IO

import torch
from torch import Tensor

from qdgs_lightning.formats.inert_pickle.machine import (
    Budget,
    Call,
    Global,
    Name,
    PickleError,
    load,
    ordered_dict,
)

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
}
STORAGE_NAMES: frozenset[Name] = frozenset(("torch", name) for name in DTYPES)

_MAX_DIMENSIONS = 5
_MAX_NUMBERS = 2**40
_MAGIC = 0x1950A86A20F9469CFC6C
_FORMAT = 1001
# The pickle of that number, behind its protocol.
LEGACY_BEGINNING = b"\x8a\n" + _MAGIC.to_bytes(10, "little")


def check_legacy_header(file: IO[bytes] | mmap, budget: Budget) -> None:
    """Read what a file of `torch.save` began with before PyTorch 1.6.

    Raises:
        PickleError: It is another file, or one of a big-endian machine.
    """
    if (
        load(file, budget=budget, calls={}) != _MAGIC
        or load(file, budget=budget, calls={}) != _FORMAT
    ):
        raise PickleError("it is of an unknown format of torch.save")
    system = load(file, budget=budget, calls={})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("it was written by a big-endian machine")


@dataclass(frozen=True)
class Storage:
    """The numbers that tensors are views of."""

    values: Tensor


def numbers(data: bytes, dtype: torch.dtype) -> Storage:
    """Read little-endian bytes.

    Raises:
        PickleError: The bytes are no whole numbers.
    """
    if len(data) % dtype.itemsize:
        raise PickleError("it is damaged: a part of a number")
    # A copy, since a tensor may be written to and bytes may not.
    empty = torch.empty(0, dtype=dtype)
    return Storage(torch.frombuffer(bytearray(data), dtype=dtype) if data else empty)


def storage_of_bytes(data: object) -> Storage:
    """Read a storage as `pickle.dump` of a tensor embeds it: a whole legacy file of `torch.save`.

    Raises:
        PickleError: It is anything else.
    """
    if not isinstance(data, bytes):
        raise PickleError("it is damaged: a storage that is no bytes")
    file, budget = BytesIO(data), Budget(len(data))
    check_legacy_header(file, budget)
    identity = load(file, budget=budget, calls={}, names=STORAGE_NAMES, persistent=Identity)
    keys = load(file, budget=budget, calls={})
    if not isinstance(identity, Identity) or keys != [identity.key]:
        raise PickleError("it is damaged: a storage without a name")
    (size,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
    storage = numbers(file.read(), identity.dtype)
    if size != identity.size or len(storage.values) != size:
        raise PickleError("it is damaged: a storage of another size than it says")
    return storage


class Identity:
    """A persistent id of `torch.save`: kind, type, key, device, size, and perhaps a view."""

    def __init__(self, identity: object) -> None:
        match identity:
            case ("storage", Global() as kind, str(key), str(), int(size)):
                pass
            case ("storage", Global() as kind, str(key), str(), int(size), None):
                pass
            case _:
                raise PickleError("it is damaged: a storage that cannot be found")
        if kind.name not in DTYPES or size < 0:
            raise PickleError("it holds numbers of an unknown kind")
        self.dtype, self.key, self.size = DTYPES[kind.name], key, size


def view(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    *_: object,  # requires_grad, hooks and metadata say nothing about numbers
) -> Tensor:
    """Return a view of a storage, after making sure that it lies within.

    Raises:
        PickleError: It does not, or it repeats numbers.
    """
    if not isinstance(storage, Storage) or not isinstance(size, tuple):
        raise PickleError("it is damaged: a tensor without numbers")
    if not isinstance(stride, tuple) or len(stride) != len(size) or len(size) > _MAX_DIMENSIONS:
        raise PickleError("it is damaged: a tensor without a shape")
    if not all(type(n) is int and 0 <= n < _MAX_NUMBERS for n in (offset, *size, *stride)):
        raise PickleError("it is damaged: a tensor of an impossible shape")
    assert isinstance(offset, int)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count, available = math.prod(size), len(storage.values)
    if count > available or (count > 0 and last >= available):
        raise PickleError("it holds a tensor that reaches beyond its numbers")
    return storage.values.as_strided(size, stride, offset)


TENSOR_CALLS: dict[Name, Call] = {
    ("torch._utils", "_rebuild_tensor_v2"): view,
    ("torch._utils", "_rebuild_tensor"): view,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch.storage", "_load_from_bytes"): storage_of_bytes,
    ("collections", "OrderedDict"): ordered_dict,
}
