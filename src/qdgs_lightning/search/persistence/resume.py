"""Searches that take long: saved while they run, and taken up where they were left.

A search is decided by its configuration, generator and guidance; nothing that happens beside it,
such as training, has a say. A file that holds the same search with more evaluations therefore holds
what this one would come to, bit for bit on one kind of CPU, and may take its place.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.search.config import SearchConfig
from qdgs_lightning.search.persistence.tree_file import read_tree
from qdgs_lightning.search.processes import exchange, first_alone
from qdgs_lightning.search.progress import search_progress
from qdgs_lightning.search.qd_search import UNTIL, QDSearch
from qdgs_lightning.utils.late_interrupts import late_interrupts

_LATE = "the search stops after this iteration, which is saved; Ctrl-C again stops it at once"


def run_and_save(
    search: QDSearch,
    evaluations: int,
    *,
    path: Path | None,
    every_seconds: float,
    unfinished: bool = False,
    shown: bool = True,
    bar: bool = True,
) -> None:
    """Continue a search, show its progress, and save it from time to time; collective.

    An interruption by Ctrl-C (on any process) waits for the end of the iteration, where the search
    can be saved; one before the end of the calibration, where there is nothing to save, does not,
    nor does a second one.

    Args:
        search: What to continue.
        evaluations: How many more latents may be evaluated.
        path: Where the first process saves it, whole or not at all; None saves nothing.
        every_seconds: How much work a stop may cost; 0 saves after every iteration.
        unfinished: Whether the file says to how many evaluations the search was to go on, see
            `evaluations_to_reach`; the last save, which does not say so, is then left to the
            caller.
        shown: Whether to show progress; False on all processes but one.
        bar: Whether a terminal gets a bar; lines otherwise, see `progress`.

    Raises:
        SearchError: The budget is too small for anything.
        EvaluationError: The generator or the guidance returned something unusable.
        ArchiveError: The file cannot be written.
        ProcessError: Another process is gone, or has failed.
        KeyboardInterrupt: The search was interrupted.
    """
    until = search.evaluations + evaluations
    saved = time.monotonic()

    def save(*, now: bool) -> None:
        nonlocal saved
        if path is not None and (now or time.monotonic() - saved >= every_seconds):
            search.save(path, until=until if unfinished else None)
            saved = time.monotonic()

    with (
        late_interrupts(_LATE) as late,
        search_progress(search, evaluations, shown=shown, bar=bar) as show,
    ):
        late.wait = path is not None and search.evaluations > 0

        def each_iteration(search: QDSearch) -> None:
            show(search)
            late.wait = path is not None
            # A signal comes to one process alone, or to several in different iterations.
            stop = any(exchange("stop" if late.came else ""))
            first_alone(lambda: save(now=stop))
            if stop:
                raise KeyboardInterrupt

        search.run(evaluations, on_iteration=each_iteration)
        if not unfinished:
            first_alone(lambda: save(now=True))


def evaluations_to_reach(path: Path) -> int | None:
    """Read to how many evaluations the search in a file was to go on when it was saved.

    Returns:
        The number, or None if the search was where it was to go, or the file holds none.

    Raises:
        ArchiveError: There is no such file, or it is truncated or of another kind.
    """
    until: int | None = read_tree(path, UNTIL).get(UNTIL)
    return until


def further_search(
    paths: Iterable[Path],
    *,
    generator: Generator,
    guidance: Guidance,
    config: SearchConfig,
    after: int,
    until: int,
) -> QDSearch | None:
    """Find the same search, farther than this one and not too far, in files; collective.

    Args:
        paths: Files that may hold it and need not be there.
        generator: Whose latents are searched, prepared.
        guidance: What judges the images, prepared.
        config: How to search.
        after: Evaluations of this search.
        until: How many evaluations the other may have at most.

    Returns:
        The farthest that all processes find; None if they find none, as where only the first one
        has the disk that the files are on.

    Raises:
        ProcessError: Another process is gone.
    """
    best: QDSearch | None = None
    for path in paths:
        search = QDSearch(generator, guidance, config)
        try:
            search.load(path)
        except QDGSError:  # no file, or another search: nothing to go on from
            continue
        if (best.evaluations if best else after) < search.evaluations <= until:
            best = search
    found = exchange(str(best.evaluations if best else 0))
    return best if len(set(found)) == 1 else None
