"""Progress of a search, with the figures of its archive."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod

from qdgs_lightning.search.qd_search import QDSearch
from qdgs_lightning.utils.progress import progress


@contextmanager
def search_progress(
    search: QDSearch, budget: int, *, shown: bool = True, bar: bool = True
) -> Iterator[Callable[[QDSearch], None]]:
    """Show evaluations, their rate, coverage, best objective, QD-score and time left.

    Coverage is the share of cells that hold an elite, out of those that the whole budget can fill:
    a cell for each evaluation, or all cells where these are fewer.

    Args:
        search: Search that is about to go on.
        budget: Evaluations that it is about to spend.
        shown: Whether to show anything; False on all processes but one.
        bar: Whether a terminal gets a bar; lines otherwise, see `progress`.

    Yields:
        A function to call after each iteration.

    Example:
        >>> with search_progress(search, 2_000) as show:
        ...     search.run(2_000, on_iteration=show)
    """
    before = search.evaluations
    fillable = min(prod(search.config.grid), before + budget)
    with progress(
        "Searching", before + budget, start=before, unit="evaluations", shown=shown, bar=bar
    ) as meter:

        def show(search: QDSearch) -> None:
            stats = search.stats
            meter.update(
                search.evaluations,
                f"coverage {stats.num_elites / fillable:.1%}",
                f"best {stats.obj_max:.1f}",
                f"QD-score {stats.qd_score:.0f}",
            )

        yield show
