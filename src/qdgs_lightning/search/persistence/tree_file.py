"""Trees of tensors and JSON types as one safetensors file, written whole or not at all.

Tensors lie in the file under their path in the tree; the tree itself, with a reference in place
of each tensor, is JSON in the file's metadata. Nothing is pickled.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.atomic_files import replacing

# One key only: safetensors keeps several in no particular order, and equal searches should give
# equal files.
_KEY = "qdgs_archive"


class ArchiveError(QDGSError):
    """An archive file that cannot be read, written or continued."""


def write_tree(path: Path, tree: dict[str, Any]) -> None:
    """Write a tree of contiguous CPU tensors and JSON types.

    A tensor that occurs twice, perhaps in two shapes, is written once.

    Args:
        path: Where to; its folder is made if need be. An older file stays until the new one is
            whole.
        tree: What to write.

    Raises:
        ArchiveError: The file cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    header = json.dumps(_replace_tensors(tree, "", tensors, {}))
    try:
        with replacing(path) as unfinished:
            save_file(tensors, unfinished, metadata={_KEY: header})
    except (OSError, SafetensorError) as error:
        raise ArchiveError(
            f"The archive cannot be saved to {path} ({error}); free space or choose another place; "
            "what was there before is unchanged."
        ) from error


def read_tree(path: Path, *branches: str) -> dict[str, Any]:
    """Read some branches of what `write_tree` wrote.

    Args:
        path: The file.
        branches: Keys of the top of the tree. Only their tensors are read.

    Returns:
        Those of the branches that the file has.

    Raises:
        ArchiveError: There is no such file, or it is truncated or of another kind.
    """
    try:
        while True:
            before = _identity(path)
            try:
                return _read_branches(path, branches)
            except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
                if _identity(path) == before:
                    raise
    except FileNotFoundError as error:
        raise ArchiveError(
            f"There is no archive file {path.absolute()}; check the path."
        ) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArchiveError(
            f"{path} is not a whole archive file of this package ({error}); bring another copy, or "
            "move it away to start anew."
        ) from error


def _read_branches(path: Path, branches: tuple[str, ...]) -> dict[str, Any]:
    """Read branches of a file that a running search may replace in the meantime.

    Raises:
        ValueError: It was replaced: safetensors opens a file twice, so that the header may be that
            of the old one and the tensors those of the new.
    """
    before = _identity(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {})[_KEY])
        tree = {name: _insert_tensors(header[name], file) for name in branches if name in header}
    if _identity(path) != before:
        raise ValueError("it was replaced while it was read")
    return tree


def _identity(path: Path) -> tuple[int, int, int]:
    """Tell a file from one that took its place."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _replace_tensors(
    tree: Any,  # noqa: ANN401 (a tree of several types)
    name: str,
    tensors: dict[str, torch.Tensor],
    names: dict[tuple[int, int, torch.dtype], str],
) -> Any:  # noqa: ANN401
    """Return the tree with references in place of tensors, which are collected in `tensors`."""
    match tree:
        case torch.Tensor():
            place = (tree.data_ptr(), tree.numel(), tree.dtype) if tree.numel() else None
            if place is None or place not in names:
                tensors[name] = tree
            else:
                name = names[place]
            if place is not None:
                names[place] = name
            return {"$tensor": name, "shape": list(tree.shape)}
        case dict():
            return {
                key: _replace_tensors(item, f"{name}/{key}".lstrip("/"), tensors, names)
                for key, item in tree.items()
            }
        case list() | tuple():
            return [
                _replace_tensors(item, f"{name}/{index}", tensors, names)
                for index, item in enumerate(tree)
            ]
    return tree


def _insert_tensors(tree: Any, file: Any) -> Any:  # noqa: ANN401 (a tree; an untyped handle)
    """Return the tree with its tensors in place of the references to them."""
    match tree:
        case {"$tensor": name, "shape": shape}:
            return file.get_tensor(name).reshape(shape)
        case dict():
            return {key: _insert_tensors(item, file) for key, item in tree.items()}
        case list():
            return [_insert_tensors(item, file) for item in tree]
    return tree
