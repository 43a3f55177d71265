"""Standard output whose reader has gone, as in ``qdgs configs | head -1``."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 141
"""Exit status of a command that SIGPIPE ends, as shells have it."""


@contextmanager
def ending_with_reader() -> Iterator[None]:
    """End silently once nobody reads standard output any more, and hide no other error.

    Raises:
        SystemExit: With `STATUS`, in place of the `BrokenPipeError` of standard output.
    """
    try:
        yield
        _send()
    except BrokenPipeError:
        if not _reader_is_gone():  # it was another pipe
            raise
        _drop_output()
        sys.exit(STATUS)
    except SystemExit as error:
        if not error.code:  # the end of --help
            with ending_with_reader():
                _send()
        raise
    finally:
        if _reader_is_gone():  # lest the interpreter complain at exit
            _drop_output()


def _send() -> None:
    """Hand on what was printed."""
    if sys.stdout is not None:  # closed before the command began
        sys.stdout.flush()


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return False
    pipe = select.poll()
    pipe.register(number, 0)  # errors are told in any case
    return any(event & select.POLLERR for _, event in pipe.poll(0))


def _drop_output() -> None:
    """Send what is left, and all that follows, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
