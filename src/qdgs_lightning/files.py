"""Files that are whole or not there, and pages that people and programs write together."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BEGIN = "<!-- measured: what stands between here and the end mark is written anew by a program -->"
END = "<!-- end of what is measured -->"


@contextmanager
def replacing(path: Path, *, writer: str = "") -> Iterator[Path]:
    """Write a file beside another and put it in its place once it is whole.

    Whatever ends the block early, an error or an interruption, leaves the older file as it was and
    nothing else; what a killed process leaves, the next writer takes over.

    Args:
        path: The file to be made or replaced; its folder is made if need be.
        writer: Tells writers apart that may write at the same time.

    Yields:
        Where to write. The file becomes readable for whom any new file is: some libraries, such as
        safetensors, make files for their owner only.

    Raises:
        OSError: The place cannot be written.

    Example:
        >>> with replacing(path) as unfinished:
        ...     unfinished.write_text("whole")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(path, writer=writer)
    try:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        yield unfinished
        unfinished.chmod(mode)
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def unfinished_name(path: Path, *, writer: str = "") -> Path:
    """Return where `replacing` writes a file until it is whole; the ending stays the same."""
    return path.with_name(f".unfinished{f'_{writer}' if writer else ''}_{path.name}")


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
