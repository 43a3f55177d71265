"""Progress of long work: a bar on a terminal, a line now and then in a log.

Every command and callback that takes long reports by `progress`. On a terminal it shows one bar;
where the output is a file or a pipe it prints a line at the start, one every 30 seconds, and one at
the end. No line is longer than 80 columns, and the time left is always among what is shown.
"""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import IO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

LINE_SECONDS = 30.0
LINE_WIDTH = 80
_BAR_WIDTH = 10
_LONGEST_NAME = 24  # columns of what goes on, so that numbers fit beside it
_DAYS = 48 * 3600.0  # seconds from which a time is written in days


class Meter:
    """Progress of one piece of work: how much is done, how fast, and how long the rest takes.

    Args:
        doing: Name of the work, such as ``Searching``.
        total: Amount of work in all, that of earlier runs included.
        start: Amount that earlier runs have done; it does not count for the rate.
        unit: Name of the things that are counted; ``bytes`` are written as kB, MB and GB.
        console: Where `print` writes.
    """

    def __init__(
        self, doing: str, total: int, *, start: int = 0, unit: str = "", console: Console
    ) -> None:
        self.doing = doing if len(doing) <= _LONGEST_NAME else f"{doing[: _LONGEST_NAME - 1]}…"
        self.total, self.start, self.unit = total, start, unit
        self.done = start
        self._console = console
        self._figures: tuple[str, ...] = ()
        self._started = time.monotonic()

    def update(self, done: int, *figures: str) -> None:
        """Report how much is done in all.

        Args:
            done: Amount of work, that of earlier runs included.
            figures: Further results, the most important first; those that do not fit are left out.
        """
        self.done, self._figures = done, figures

    def advance(self, amount: int = 1) -> None:
        """Report that so much more is done."""
        self.done += amount

    def print(self, text: str) -> None:
        """Print a line of its own, above the bar if there is one."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return time.monotonic() - self._started

    def first_line(self) -> str:
        """Return the line of the start, which says of a continuation from where it goes on."""
        of = "" if self.unit in ("", "bytes") else f" {self.unit}"
        return f"{self.doing}: {'from ' if self.start else ''}{self._counts(self.start)}{of}"

    def line(self, seconds: float, *, width: int = LINE_WIDTH) -> str:
        """Return counts, rate, figures and the time left in one line.

        Args:
            seconds: Time since the work began.
            width: Columns that the line may take.
        """
        name = f"{self.doing}: "
        return name + self.beside_bar(seconds, width=width - len(name))

    def last_line(self, seconds: float, *, stopped: bool = False) -> str:
        """Return the line of the end: how much was done, in which time, and the last figures.

        Args:
            seconds: Time since the work began.
            stopped: Whether something ended it early.
        """
        done = f"{self._counts(self.done)} in {_clock(seconds)}"
        head = f"{self.doing}: {'stopped at' if stopped else 'done,'} {done}"
        return _fitted([head, self._rate(seconds)], self._figures, [], width=LINE_WIDTH)

    def beside_bar(self, seconds: float, *, width: int) -> str:
        """Return `line` without the name of the work, which stands before the bar."""
        head = [self._counts(self.done), self._rate(seconds)]
        return _fitted(head, self._figures, [self._left(seconds)], width=width)

    def _counts(self, done: int) -> str:
        """Write an amount of the total."""
        return f"{self._amount(done)} of {self._amount(self.total)}"

    def _amount(self, number: float) -> str:
        """Write an amount of work."""
        return decimal(int(number)) if self.unit == "bytes" else f"{number:,.0f}"

    def _rate(self, seconds: float) -> str:
        """Return the amount of work per second since the start, or per hour if it is slow."""
        rate = (self.done - self.start) / seconds if seconds > 0 else 0.0
        if 0 < rate < 0.1:
            return f"{3600 * rate:.3g}/h"
        return f"{self._amount(rate) if rate >= 10 else f'{rate:.1f}'}/s"

    def _left(self, seconds: float) -> str:
        """Return the time that the rest takes at the rate so far."""
        done, rest = self.done - self.start, self.total - self.done
        if done <= 0 or seconds <= 0:
            return f"{_clock(seconds)} so far"
        return f"{_clock(max(0.0, rest * seconds / done))} left"


@contextmanager
def progress(
    doing: str,
    total: int,
    *,
    start: int = 0,
    unit: str = "",
    shown: bool = True,
    bar: bool = True,
    aside: bool = False,
    brief: bool = False,
    file: IO[str] | None = None,
) -> Iterator[Meter]:
    """Show how far a piece of long work is, for as long as the context is open.

    Args:
        doing: Name of the work, such as ``Searching``.
        total: Amount of work in all, that of earlier runs included.
        start: Amount that earlier runs have done.
        unit: Name of the things that are counted; ``bytes`` are written as kB, MB and GB.
        shown: Whether to show anything; False on all processes but one.
        bar: Whether a terminal gets a bar; lines otherwise.
        aside: Whether to write to standard error, and to take the bar away in the end: for
            commands whose standard output is a report.
        brief: Whether the work is usually over at once, so that lines come only after 30 seconds;
            it is shown aside.
        file: Where to write in place of standard output, such as the one that was there before
            other output was sent elsewhere.

    Yields:
        A `Meter` to report to.

    Example:
        >>> with progress("Packing", len(images), unit="images") as meter:
        ...     for image in images:
        ...         pack(image)
        ...         meter.advance()
    """
    console = Console(file=file, stderr=aside or brief, quiet=not shown)
    meter = Meter(doing, total, start=start, unit=unit, console=console)
    if not shown:
        yield meter
    elif bar and console.is_terminal and not console.is_dumb_terminal:
        with _bar(meter, console, transient=console.stderr):
            yield meter
    else:
        with _lines(meter, brief=brief):
            yield meter


@contextmanager
def _bar(meter: Meter, console: Console, *, transient: bool) -> Iterator[None]:
    """Keep a bar on a terminal; it redraws itself."""
    name = TextColumn("{task.description}", markup=False)
    columns = name, BarColumn(bar_width=_BAR_WIDTH), _Beside(meter)
    # rich would show above the bar what is printed, also what was sent elsewhere.
    here = console.file in (sys.stdout, sys.stderr)
    shown = Progress(
        *columns,
        console=console,
        transient=transient,
        redirect_stdout=here,
        redirect_stderr=here,
    )
    with shown:
        task = shown.add_task(meter.doing, total=meter.total, completed=meter.done)
        try:
            yield
        finally:
            shown.update(task, completed=meter.done)


class _Beside(ProgressColumn):
    """Column that asks the meter for its numbers, and moves the bar along with them."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def render(self, task: Task) -> Text:
        """Write the numbers into the columns that name and bar leave of the terminal."""
        meter = self._meter
        task.completed = meter.done
        width = meter._console.width - len(meter.doing) - _BAR_WIDTH - 2  # a space between each
        return Text(meter.beside_bar(meter.seconds, width=width), no_wrap=True, overflow="ellipsis")


@contextmanager
def _lines(meter: Meter, *, brief: bool) -> Iterator[None]:
    """Print lines where there is no terminal, also while a single step takes long."""
    if not brief:
        meter.print(meter.first_line())
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(LINE_SECONDS):
            meter.print(meter.line(meter.seconds))

    printer = threading.Thread(target=repeat, name="progress", daemon=True)
    printer.start()
    stopped = True
    try:
        yield
        stopped = False
    finally:
        ended.set()
        printer.join()
        if not brief:
            meter.print(meter.last_line(meter.seconds, stopped=stopped))


def _fitted(head: Sequence[str], figures: Sequence[str], tail: Sequence[str], *, width: int) -> str:
    """Join parts by commas, with as many of the figures as there is room for."""
    kept = list(figures)
    while len(line := ", ".join([*head, *kept, *tail])) > width and kept:
        kept.pop()
    return line


def _clock(seconds: float) -> str:
    """Write a time in hours, minutes and seconds, or in days."""
    if seconds >= _DAYS:
        return f"{seconds / 86_400:,.0f} days"
    return str(timedelta(seconds=round(seconds)))
