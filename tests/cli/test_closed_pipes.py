"""A command ends silently when nobody reads what it prints, and every other error is told."""

import os
import subprocess
import sys

import pytest

from qdgs_lightning.cli.closed_pipes import STATUS, ending_with_reader


def into_a_closed_pipe(word: str, *, unbuffered: bool) -> tuple[int, str]:
    """Run a command whose standard output nobody reads; return its status and its complaint."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, *(["-u"] if unbuffered else []), "-m", "qdgs_lightning", word],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])  # it fails at exit, or in `print`
def test_a_listing_that_nobody_reads_ends_silently(unbuffered: bool) -> None:
    assert into_a_closed_pipe("configs", unbuffered=unbuffered) == (STATUS, "")


def test_a_mistake_is_told_though_nobody_reads_the_output() -> None:
    status, told = into_a_closed_pipe("confgs", unbuffered=False)
    assert status == 1
    assert told.startswith("qdgs: there is no command 'confgs'")
    assert len(told.splitlines()) == 1


def test_another_broken_pipe_is_an_error() -> None:
    with pytest.raises(BrokenPipeError), ending_with_reader():
        raise BrokenPipeError
