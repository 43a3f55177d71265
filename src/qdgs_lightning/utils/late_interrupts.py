"""Interruptions that wait until a piece of work is whole."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class LateInterrupts:
    """State of a block of `late_interrupts`.

    Attributes:
        wait: Whether the first interruption is to wait; the block sets it.
        came: Whether one is waiting; the block looks at it where it can stop.
    """

    wait: bool = False
    came: bool = False


@contextmanager
def late_interrupts(notice: str) -> Iterator[LateInterrupts]:
    """Let the first Ctrl-C wait until the block stops by itself; the second one stops it at once.

    The same goes for SIGTERM where it ends a command as Ctrl-C does. Signals that have another
    handler keep it, and so do those of threads other than the main one.

    Args:
        notice: Sentence for standard error when an interruption begins to wait.

    Yields:
        What the block sets and looks at.

    Raises:
        KeyboardInterrupt: An interruption has come, and the block has ended without raising it.
    """
    late = LateInterrupts()

    def handle(number: int, frame: FrameType | None) -> None:
        if late.came or not late.wait:
            signal.default_int_handler(number, frame)
        late.came = True
        # A handler may run in the midst of a write to sys.stderr, which takes no second one.
        os.write(2, f"\nqdgs: {notice}\n".encode())

    replaced = []
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is signal.default_int_handler:
                signal.signal(number, handle)
                replaced.append(number)
    except ValueError:  # not the main thread
        pass
    try:
        yield late
    finally:
        for number in replaced:
            signal.signal(number, signal.default_int_handler)
    if late.came:
        raise KeyboardInterrupt
