"""Files that are whole or not there, and pages that people and programs write together."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from qdgs_lightning.errors import QDGSError

BEGIN = "<!-- measured: what stands between here and the end mark is written anew by a program -->"
END = "<!-- end of what is measured -->"


class PageError(QDGSError):
    """A page in which it is not clear what a program may replace."""


@contextmanager
def replacing(path: Path, *, writer: str = "") -> Iterator[Path]:
    """Write a file apart and put it in its place once it is whole.

    Whatever ends the block early, an error or an interruption, leaves the older file as it was and
    nothing else; what a killed process leaves, the next writer takes away.

    Args:
        path: The file to be made or replaced; its folder is made if need be.
        writer: Tells writers apart that may write at the same time.

    Yields:
        Where to write: a file of the same name in an empty folder beside it, since libraries such
        as safetensors have further files there while they write. The file becomes readable for
        whom any new file is; those libraries make it for its owner only.

    Raises:
        OSError: The place cannot be written, or a folder is there.

    Example:
        >>> with replacing(path) as unfinished:
        ...     unfinished.write_text("whole")
    """
    if path.is_dir():  # before there is anything: a path such as "." has no name to write under
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    folder = path.with_name(f".unfinished{f'_{writer}' if writer else ''}_{path.name}")
    unfinished = folder / path.name
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        unfinished.touch()
        mode = unfinished.stat().st_mode
        yield unfinished
        unfinished.chmod(mode)
        unfinished.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def reserved(path: Path, mistake: type[QDGSError]) -> Iterator[None]:
    """Keep the place of a file or a folder for one writer, while the block lasts.

    Args:
        path: The file or folder; what it lies in is made if need be.
        mistake: What to raise.

    Raises:
        QDGSError: As `mistake` says, where the place cannot be written, which is better known
            before the work than after it, or another process is writing there.
    """
    place = path.absolute()  # "." has no name
    lock = FileLock(place.with_name(f".lock_{place.name}"), blocking=False)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise mistake(
            f"Another process is writing {path}; let it end, or give another output."
        ) from error
    except OSError as error:
        raise mistake(
            f"The output cannot be saved to {path} ({error.strerror or error}); choose a place "
            "that can be written."
        ) from error
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def strict_json(value: Any, *, words: bool = False) -> Any:  # noqa: ANN401 (a tree of several types)
    """Turn a tree into the types of strict JSON.

    Args:
        value: Dataclasses and named tuples, which become objects, mappings, sequences and numbers;
            anything else becomes its string.
        words: Whether what is infinite or no number becomes a word such as "-inf", and not null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): strict_json(item, words=words) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [strict_json(item, words=words) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value) if words else None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1))


def write_measured(path: Path, measured: str, *, title: str) -> None:
    """Put what was measured into a Markdown page, whose other text stays as it is.

    Args:
        path: The page; made if need be.
        measured: Goes between the marks; at the end of a page that has none.
        title: Heading of a new page.

    Raises:
        PageError: The page has one mark without the other, one of them twice, or the end mark
            first; a guess could then replace what people wrote.
    """
    text = path.read_text() if path.is_file() else f"# {title}\n"
    if BEGIN not in text and END not in text:
        text += f"\n{BEGIN}\n{END}\n"
    for mark in (BEGIN, END):
        if (times := text.count(mark)) != 1:
            raise PageError(
                f"{path} has the mark '{mark}' {times} times: put it once, where the measured "
                f"part {'begins' if mark == BEGIN else 'ends'}."
            )
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise PageError(f"{path} has the mark '{END}' before '{BEGIN}': put it after that.")
    with replacing(path) as unfinished:
        unfinished.write_text(f"{before}{BEGIN}\n\n{measured.strip()}\n\n{END}{after}")
