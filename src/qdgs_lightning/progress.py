"""Bars for what takes a while."""

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def passing_bar(doing: str, column: ProgressColumn) -> Progress:
    """Make a bar that vanishes in the end; where there is no terminal nothing is shown at all.

    Args:
        doing: What goes on.
        column: Says how far it is.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn(doing),
        BarColumn(bar_width=10),
        column,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
