"""A finding is one line for programs, and hangs beside its subject for people."""

from io import StringIO

import pytest
from rich.console import Console

from qdgs_lightning.doctor.findings import warning
from qdgs_lightning.utils.units import size

FOUND = warning("W&B [team]", "there is no key " + "and none is needed " * 5, "wait " * 20 + "here")


def printed(what: object, *, width: int) -> list[str]:
    console = Console(width=width, file=StringIO(), highlight=False)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_row_says_what_the_line_says_and_hangs() -> None:
    rows = printed(FOUND.to_row(), width=72)
    assert len(rows) > 2
    assert rows[0].startswith("warning W&B [team]             there is no key")
    assert all(len(row) <= 72 and row.startswith(31 * " " + row[31]) for row in rows[1:])
    assert " ".join(" ".join(rows).split()) == " ".join(FOUND.to_text().plain.split())


def test_a_path_without_spaces_is_not_cut_off() -> None:
    path = "/".join(["folder"] * 20)
    rows = printed(warning("checkpoint", path, "").to_row(), width=72)
    assert "".join(row[31:] for row in rows) == path


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (999_700, "1 MB"),
        (2.5e9, "2.5 GB"),
        (4e15, "4e+03 TB"),
    ],
)
def test_sizes_are_read_at_a_glance(number: float, text: str) -> None:
    assert size(number) == text
