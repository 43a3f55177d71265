"""Files that are whole or not there, and pages that people and programs write together."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BEGIN = "<!-- measured: what stands between here and the end mark is written anew by a program -->"
END = "<!-- end of what is measured -->"


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
        OSError: The place cannot be written.

    Example:
        >>> with replacing(path) as unfinished:
        ...     unfinished.write_text("whole")
    """
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


def write_measured(path: Path, measured: str, *, title: str) -> None:
    """Put what was measured into a Markdown page, whose other text stays as it is.

    Args:
        path: The page; made if need be.
        measured: Goes between the marks; at the end of a page that has none.
        title: Heading of a new page.
    """
    text = path.read_text() if path.is_file() else f"# {title}\n\n{BEGIN}\n{END}\n"
    if BEGIN not in text or END not in text:
        text += f"\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with replacing(path) as unfinished:
        unfinished.write_text(f"{before}{BEGIN}\n\n{measured.strip()}\n\n{END}{after}")
