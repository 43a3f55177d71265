"""Files of `torch.save`, old and new, and of TorchScript, read as data without PyTorch's reader."""

import struct
import zipfile
from dataclasses import dataclass
from io import BytesIO
from mmap import mmap
from pathlib import Path
from typing import Any

from torch import Tensor

from qdgs_lightning.formats.inert_pickle.machine import Budget, Call, Name, PickleError, load
from qdgs_lightning.generators.stylegan2.io.storages import (
    LEGACY_BEGINNING,
    STORAGE_NAMES,
    TENSOR_CALLS,
    Identity,
    check_legacy_header,
    numbers,
    view,
)


@dataclass(frozen=True)
class _View:
    """A tensor whose numbers were not read yet, as most are never needed."""

    arguments: tuple[object, ...]


class _Options:
    """Stands in for ``argparse.Namespace``: what a training was started with."""

    def build(self, state: object) -> None:
        """Take the options, which nobody needs."""


class _Script:
    """Stands in for a module of TorchScript, whose code nobody looks at.

    Attributes:
        state: Its attributes: tensors, other modules, numbers.
    """

    def __init__(self) -> None:
        self.state: dict[object, object] = {}

    def build(self, state: object) -> None:
        """Take its attributes."""
        if isinstance(state, dict):
            self.state = state


class _Calls(dict[Name, Call]):
    """What may be called, of TorchScript's modules each, as their names are made up."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or _is_script(name)

    def get(self, name: Name, default: Any = None) -> Any:  # noqa: ANN401 (as that of dict)
        """Return what stands in for a global."""
        return _Script if _is_script(name) else super().get(name, default)


def _is_script(name: object) -> bool:
    return isinstance(name, tuple) and f"{name[0]}.".startswith("__torch__.")


_LISTS = ("intlist", "doublelist", "boollist", "tensorlist")
_CALLS: dict[Name, Call] = _Calls(
    TENSOR_CALLS
    | {("torch.jit._pickle", f"build_{kind}"): lambda *_: None for kind in _LISTS}
    | {
        ("torch.jit._pickle", "restore_type_tag"): lambda value, *_: value,
        ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: _View(arguments),
        ("torch._utils", "_rebuild_tensor"): lambda *arguments: _View(arguments),
        ("argparse", "Namespace"): _Options,
    }
)
_MAX_MODULES = 5_000


def _tensors_within(script: _Script) -> dict[str, object]:
    """Return the tensors of a module of TorchScript and of those within it, by dotted names.

    Raises:
        PickleError: There are more modules than in any network, as where one holds itself.
    """
    found: dict[str, object] = {}
    waiting, visited = [("", script)], 0
    while waiting:
        prefix, module = waiting.pop()
        visited += 1
        if visited > _MAX_MODULES:
            raise PickleError("it has more modules than any network")
        for name, value in module.state.items():
            if isinstance(value, _View):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, _Script):
                waiting.append((f"{prefix}{name}.", value))
    return found


class TorchFile:
    """A file of `torch.save` or of TorchScript; close it by ``with``.

    Attributes:
        tree: What was saved, in dicts and lists; tensors through `entries` and `tensors`.

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

    @property
    def is_script(self) -> bool:
        """Whether it is an archive of TorchScript, which has code beside its tensors."""
        return isinstance(self.tree, _Script)

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

        A tree that is such itself has the empty string for a key, as have all tensors of the
        modules of a TorchScript archive, by their dotted names.

        Raises:
            PickleError: There are more modules than in any network.
        """
        if isinstance(self.tree, _Script):
            return {"": _tensors_within(self.tree)}
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
