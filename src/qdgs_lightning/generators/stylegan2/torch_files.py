"""Files of `torch.save`, old and new, read as data; PyTorch's own reader is not asked."""

import struct
import zipfile
from dataclasses import dataclass
from io import BytesIO
from mmap import mmap
from pathlib import Path
from typing import Any

from torch import Tensor

from qdgs_lightning.generators.stylegan2.storages import (
    LEGACY_BEGINNING,
    STORAGE_NAMES,
    TENSOR_CALLS,
    Identity,
    check_legacy_header,
    numbers,
    view,
)
from qdgs_lightning.pickles import Budget, Call, Name, PickleError, load


@dataclass(frozen=True)
class _View:
    """A tensor whose numbers were not read yet, as most are never needed."""

    arguments: tuple[object, ...]


class _Options:
    """Stands in for ``argparse.Namespace``: what a training was started with."""

    def build(self, state: object) -> None:
        """Take the options, which nobody needs."""


_CALLS: dict[Name, Call] = {
    **TENSOR_CALLS,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: _View(arguments),
    ("torch._utils", "_rebuild_tensor"): lambda *arguments: _View(arguments),
    ("argparse", "Namespace"): _Options,
}


class TorchFile:
    """A file of `torch.save`; close it by ``with``.

    Attributes:
        tree: What was saved, in dicts and lists; tensors through `tensors`.

    Args:
        path: The file.
        data: The same, mapped into memory.

    Raises:
        PickleError: It is damaged, of another kind, or holds more than data.
    """

    def __init__(self, path: Path, data: mmap) -> None:
        self._budget = Budget(len(data))
        self._numbers: dict[str, bytes] = {}
        self._zip: zipfile.ZipFile | None = None
        self._prefix = ""
        self.tree = self._read_zip(path) if data[:2] == b"PK" else self._read_legacy(data)

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    @staticmethod
    def accepts(head: bytes) -> bool:
        """Tell by its first bytes whether a file is one of `torch.save`."""
        return head[:4] == b"PK\x03\x04" or head[2:14] == LEGACY_BEGINNING

    def entries(self) -> dict[str, dict[str, object]]:
        """Return all that is nothing but tensors by name, unread, by its key in the tree.

        A tree that is such itself has the empty string for a key.
        """
        trees = {"": self.tree, **self.tree} if isinstance(self.tree, dict) else {}
        return {
            str(key): tree
            for key, tree in trees.items()
            if isinstance(tree, dict)
            and tree
            and all(isinstance(value, _View) for value in tree.values())
        }

    def tensors(self, tree: object) -> dict[str, Tensor]:
        """Read the tensors of a dict of the tree.

        Raises:
            PickleError: It holds anything else, or its numbers are damaged.
        """
        if not isinstance(tree, dict):
            raise PickleError("it is damaged: tensors with names expected")
        return {str(name): self.tensor(value) for name, value in tree.items()}

    def tensor(self, value: object) -> Tensor:
        """Read one tensor of the tree."""
        if not isinstance(value, _View) or not isinstance(value.arguments[0], Identity):
            raise PickleError("it is damaged: a tensor expected")
        identity = value.arguments[0]
        data = self._bytes(identity.key)
        # Tensors may share numbers, and each is a copy in the end.
        self._budget.spend(len(data))
        storage = numbers(data, identity.dtype)
        if len(storage.values) != identity.size:
            raise PickleError("it is damaged: a storage of another size than it says")
        # A copy: the view may be a small part of what was read.
        return view(storage, *value.arguments[1:]).clone()

    def _read_zip(self, path: Path) -> Any:  # noqa: ANN401
        """Read the tree of the format that PyTorch has written since 1.6."""
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise PickleError(f"it is damaged: {error}") from error
        names = [name for name in self._zip.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise PickleError("it is a zip file, but none of torch.save")
        self._prefix = names[0].removesuffix("data.pkl")
        pickled = BytesIO(self._entry(names[0]))
        return load(
            pickled, budget=self._budget, calls=_CALLS, names=STORAGE_NAMES, persistent=Identity
        )

    def _entry(self, name: str) -> bytes:
        """Read an entry of the zip file, which torch.save never compresses."""
        assert self._zip is not None
        try:
            if self._zip.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise PickleError("it is compressed, as no file of torch.save is")
            return self._zip.read(name)
        except (KeyError, zipfile.BadZipFile, OSError, RuntimeError, EOFError) as error:
            raise PickleError(f"it is damaged: {error}") from error

    def _read_legacy(self, data: mmap) -> Any:  # noqa: ANN401
        """Read the tree of the format before, and the numbers behind it."""
        budget = self._budget
        check_legacy_header(data, budget)
        sizes: dict[str, int] = {}

        def noted(identity: object) -> Identity:
            found = Identity(identity)
            sizes[found.key] = found.size * found.dtype.itemsize
            return found

        tree = load(data, budget=budget, calls=_CALLS, names=STORAGE_NAMES, persistent=noted)
        keys = load(data, budget=budget, calls={})
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise PickleError("it is damaged: numbers without names")
        for key in keys:
            (count,) = struct.unpack("<q", data.read(8).ljust(8, b"\0"))
            if count < 0 or key not in sizes or key in self._numbers:
                raise PickleError("it is damaged: numbers without a tensor")
            self._numbers[key] = data.read(sizes[key])
        return tree

    def _bytes(self, key: str) -> bytes:
        """Return the numbers of a storage."""
        if self._zip is not None:
            return self._entry(f"{self._prefix}data/{key}")
        if key not in self._numbers:
            raise PickleError("it is damaged: a tensor without numbers")
        return self._numbers[key]
