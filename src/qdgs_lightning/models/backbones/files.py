"""Files of backbones of others, read as data: nothing in them is executed.

`torch.load` with ``weights_only`` builds tensors and plain containers and refuses all else. Older
checkpoints of Lightning name a few classes besides; these are read as classes of ours that take
anything and do nothing.
"""

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from qdgs_lightning.models.backbones.base import BackboneError

_MAX_DEPTH = 2  # of entries within entries, in which weights are looked for


class _Ignored:
    """Stands in for an object that nobody asks."""

    def __new__(cls, *_: object) -> "_Ignored":
        return object.__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Forget it."""


class _Entries:
    """Stands in for a kind of dict."""

    def __new__(cls, *_: object) -> "OrderedDict[object, object]":  # type: ignore[misc]
        # torch.load fills dicts of exactly this class.
        return OrderedDict()


_IGNORED = (
    "argparse.Namespace",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.Path",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    *(
        f"{package}.callbacks.{name}"
        for package in ("pytorch_lightning", "lightning.pytorch")
        for name in (
            "early_stopping.EarlyStopping",
            "model_checkpoint.ModelCheckpoint",
            "timer.Timer",
        )
    ),
)
_DICTS = (
    "easydict.EasyDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "utils.dotdict",  # AdaFace
)


def read_weights(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read the weights that a file holds, mapped into memory where its format allows.

    Args:
        path: A file of safetensors or of `torch.save`: tensors by name, or a checkpoint of a
            training with such in its entries.

    Returns:
        Tensors by name, by entry: ``state_dict``, ``ema`` and so on, dotted where entries are
        within entries; by the empty string where the file is nothing but tensors by name.

    Raises:
        BackboneError: The file cannot be read, is damaged, or holds more than data, or no weights.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise BackboneError(
            f"{path.absolute()} cannot be read ({error.strerror}); check the path."
        ) from error
    if path.suffix.lower() == ".onnx":
        raise BackboneError(
            f"{path} is a graph of ONNX, whose normalisations are merged into its convolutions so "
            "that no backbone can be filled from it; bring the .pth file that it was exported "
            "from, or make a backbone of the graph itself, as docs/your_own_parts.md shows."
        )
    if head[8:9] == b"{":
        return {"": _read_safetensors(path)}
    tree = _read_pickle(path, is_zip=head.startswith(b"PK"))
    groups = dict(_groups(tree))
    if groups:
        return groups
    if not isinstance(tree, Mapping) or not tree:
        raise BackboneError(f"{path} holds no tensors with names; bring a file of weights.")
    inner = (tree.get(entry) for entry in ("state_dict", "model"))
    weights = next((part for part in inner if isinstance(part, Mapping) and part), tree)
    odd = next(name for name, value in weights.items() if not isinstance(value, Tensor))
    if weights is tree and not any(isinstance(value, Tensor) for value in tree.values()):
        raise BackboneError(
            f"{path} holds no weights: its entries are {', '.join(map(str, tree))}; bring a file "
            "of weights, or a checkpoint with them."
        )
    raise BackboneError(
        f"{path} holds {str(odd)!r}, which is no tensor, among its weights; save the state_dict of "
        "the backbone alone and give that."
    )


def _groups(
    tree: object, entry: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Find what is nothing but tensors by name, from the top down."""
    if not isinstance(tree, Mapping) or not tree or depth > _MAX_DEPTH:
        return
    if all(isinstance(value, Tensor) for value in tree.values()):
        yield entry, {str(name): value for name, value in tree.items()}
        return
    for name, value in tree.items():
        yield from _groups(value, f"{entry}.{name}" if entry else str(name), depth + 1)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise _damaged(path, str(error)) from error


def _read_pickle(path: Path, *, is_zip: bool) -> object:
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        *((_Ignored, name) for name in _IGNORED),
        *((_Entries, name) for name in _DICTS),
    ]
    try:
        # Warnings are of files that torch.load refuses anyway, such as TorchScript.
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise BackboneError(
                f"{path} holds more than weights ({found[1]}) and was not read, nor was anything "
                "in it run; save the state_dict of the backbone alone where you trust the file, "
                "and give that."
            ) from error
        reason = re.search(r"WeightsUnpickler error: ([^\n]*)", str(error))
        raise _damaged(path, reason[1] if reason else str(error)) from error
    except Exception as error:  # what is damaged can end in any of them
        raise _damaged(path, str(error) or type(error).__name__) from error


def _damaged(path: Path, reason: str) -> BackboneError:
    line = reason.strip().partition("\n")[0].rstrip(". ")
    return BackboneError(
        f"{path} is damaged or no file of weights ({line}); bring another copy, in safetensors or "
        "as torch.save writes it."
    )
