"""Files and folders of a data set, without what other programs leave beside them."""

import os
from collections.abc import Iterator
from pathlib import Path


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """List what lies in a folder, sorted, without names that begin with a dot.

    Such names are bookkeeping of Jupyter (``.ipynb_checkpoints``), macOS (``._face.jpg``), git and
    others, and neither identities nor images nor lists.

    Args:
        folder: The folder; an absent one is empty.
        pattern: Which names, as of `pathlib.Path.glob`, such as ``*.bin``.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def walk_files(folder: str | Path) -> Iterator[str]:
    """Go through all files below a folder, deeper ones too; neither folders nor files with a dot.

    The order is that of torchvision's ImageFolder: by folder, then by name.

    Args:
        folder: Links to other folders are followed.

    Yields:
        The path of each, which begins with that of the folder.
    """
    for root, _, names in sorted(_walk(folder)):
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.join(root, name)


def _walk(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as `os.walk` does, past folders whose names begin with a dot."""
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield root, folders, names
