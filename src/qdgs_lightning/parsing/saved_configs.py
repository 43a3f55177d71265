"""Configurations that runs keep, and that mean the same data wherever they are read from.

Paths in YAML are relative to the folder of the command. ``RUN/config.yaml`` is read from other
folders too, so it notes that folder, both as it is and as seen from the run folder: the first holds
where the run folder alone is moved, the second where the project is moved with all that is in it.
Absolute paths would hold in neither, nor on another machine.
"""

import os
import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

_NOTE = re.compile(r"# started in (.+) \((.+) from here\)$")
# What a run reads; what it writes goes below the folder of the command, as always. Callbacks do
# both: they read files, such as an archive, and write into folders, such as `dirpath`.
_READ: dict[str, Callable[[Path], bool]] = {
    "model": Path.exists,
    "data": Path.exists,
    "ckpt_path": Path.exists,
    "trainer.callbacks": Path.is_file,
}


def folder_note(run: Path) -> str:
    """Write the comment that says which folder the command was started in.

    Args:
        run: The folder of the saved configuration.
    """
    here = Path.cwd()
    return f"# started in {here} ({os.path.relpath(here, run.absolute())} from here)"


def find_saved_paths(values: Namespace, path: Path) -> None:
    """Make relative paths absolute that are there where a run was started, and not here.

    Paths that are in the folder of this command stay as they are, as do those that are nowhere.

    Args:
        values: What a configuration says of ``model``, ``data``, ``ckpt_path`` and, where only
            files are looked for, ``trainer.callbacks``; changed in place.
        path: The file that it was read from; where it has no `folder_note`, nothing changes.
    """
    folders = noted_folders(path)
    for key, is_there in _READ.items() if folders else ():
        if (value := values.get(key)) is not None:
            values[key] = _found(value, folders, is_there)


def noted_folders(path: Path) -> list[Path]:
    """Read where a run was started: that folder if the project has moved, then the former one.

    Args:
        path: Configuration of a run.

    Returns:
        Absolute paths, of folders that need not be there; none where the file has no `folder_note`.
    """
    with path.open(encoding="utf-8") as file:
        for line in takewhile(lambda line: line.startswith("#"), file):
            if note := _NOTE.match(line.rstrip("\n")):
                return [Path(os.path.normpath(path.absolute().parent / note[2])), Path(note[1])]
    return []


def _found(
    value: Any,  # noqa: ANN401 (whatever configurations hold)
    folders: list[Path],
    is_there: Callable[[Path], bool],
) -> Any:  # noqa: ANN401
    """Look for the paths in a value."""
    if isinstance(value, Namespace):
        for key, each in list(vars(value).items()):
            setattr(value, key, _found(each, folders, is_there))
    elif isinstance(value, dict):
        return {key: _found(each, folders, is_there) for key, each in value.items()}
    elif isinstance(value, list):
        return [_found(each, folders, is_there) for each in value]
    elif isinstance(value, Path) or (isinstance(value, str) and _looks_like_path(value)):
        here = Path(value)
        there = (folder / here for folder in folders)
        if not here.is_absolute() and not here.exists():
            return type(value)(next((each for each in there if is_there(each)), here))
    return value


def _looks_like_path(word: str) -> bool:
    """Whether a text, which may be a name as well, can be meant as a path."""
    return len(word) < 1000 and "\n" not in word and ("/" in word or Path(word).suffix != "")
