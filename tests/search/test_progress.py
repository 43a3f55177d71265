"""What is shown while a search runs."""

import pytest

from qdgs_lightning.search import QDSearch, SearchConfig, search_progress
from tests.toys import ToyGenerator, ToyGuidance


def begun() -> QDSearch:
    """Return a search that has spent its first evaluations."""
    search = QDSearch(
        ToyGenerator(), ToyGuidance(), SearchConfig(grid=(10, 10), calibration=100, batch_size=4)
    )
    search.run(search.minimum)
    return search


def test_lines_count_what_was_spent_before(capsys: pytest.CaptureFixture[str]) -> None:
    search = begun()
    before, budget = search.evaluations, 2 * search.minimum
    with search_progress(search, budget) as show:
        search.run(budget, on_iteration=show)
    shown = capsys.readouterr().out
    assert f"Searching: from {before} of {before + budget} evaluations\n" in shown
    assert f"{search.evaluations} of {before + budget} in" in shown
    assert f"coverage {search.stats.coverage:.1%}" in shown


def test_other_processes_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    search = begun()
    with search_progress(search, search.minimum, shown=False) as show:
        search.run(search.minimum, on_iteration=show)
    assert not capsys.readouterr().out
