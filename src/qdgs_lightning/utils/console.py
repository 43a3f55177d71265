"""What the commands ``qdgs data ...`` have in common."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.progress import progress


class DataError(QDGSError):
    """Data that are damaged, or that cannot be kept where they were asked to be."""


def say(*lines: str) -> None:
    """Print lines as they are."""
    Console().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def counting(doing: str, total: int, *, start: int = 0) -> Iterator[Callable[[], None]]:
    """Show on standard error how many things are done, their rate, and the time left.

    Args:
        doing: What is done to them, in one word.
        total: How many there are.
        start: How many an earlier run has done.

    Yields:
        A function to call after each.
    """
    with progress(doing, total, start=start, aside=True) as meter:
        yield meter.advance


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder apart and put it in its place once it is whole.

    Whatever ends the block early leaves nothing behind; what a killed process leaves, the next one
    takes away.

    Args:
        path: The folder to be made; its parents are made if need be.

    Yields:
        Where to write: a folder beside it.

    Raises:
        DataError: There is something in its place.
    """
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if path.exists():
        raise DataError(f"{path} is there already; choose another name, or remove it.")
    unfinished = path.with_name(f".unfinished_{path.name}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def workers_for(asked: int | None, images: int) -> int:
    """How many processes to decode with; fewer than there are cores where there is little to do.

    Raises:
        DataError: The number that was asked for is negative.
    """
    if asked is None:
        return min(os.cpu_count() or 1, images // 2000)
    if asked < 0:
        raise DataError(f"workers is {asked}; give 0 or more.")
    return asked
