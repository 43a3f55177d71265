"""Show on the terminal how far a search is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from qdgs_lightning.search.qd_search import QDSearch


@contextmanager
def search_progress(
    search: QDSearch, budget: int, *, shown: bool = True
) -> Iterator[Callable[[QDSearch], None]]:
    """Show a bar with evaluations, their rate, coverage, QD-score, best objective and time left.

    Args:
        search: What is about to go on.
        budget: How many evaluations it is about to spend.
        shown: Whether to show anything; False on all processes but one.

    Returns:
        A context that yields a function to call after each iteration.

    Example:
        >>> with search_progress(search, 2_000) as show:
        ...     search.run(2_000, on_iteration=show)
    """
    before, started = search.evaluations, time.monotonic()
    with Progress(
        TextColumn("Searching"),
        BarColumn(bar_width=10),
        TextColumn("{task.completed:.0f}/{task.total:.0f}, {task.fields[figures]}"),
        TimeRemainingColumn(),
        disable=not shown,
    ) as progress:
        task = progress.add_task("", total=before + budget, completed=before, figures="")

        def show(search: QDSearch) -> None:
            stats, seconds = search.stats, time.monotonic() - started
            progress.update(
                task,
                completed=search.evaluations,
                figures=(
                    f"{(search.evaluations - before) / seconds:.0f}/s, coverage "
                    f"{stats.coverage:.1%}, QD-score {stats.qd_score:.0f}, best "
                    f"{stats.obj_max:.1f},"
                ),
            )

        yield show
