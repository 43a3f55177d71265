"""Remarks of other libraries: left out where no user can act on them, kept about the run."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdgs_lightning.utils import remarks
from qdgs_lightning.utils.remarks import output_to, without_remarks

LOGGER = logging.getLogger("lightning.pytorch.utilities.rank_zero")
TIP = "💡 Tip: For seamless cloud logging, try installing something."


class Kept(logging.Handler):
    """A handler that keeps messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.messages.append(record.getMessage())


@pytest.fixture
def kept() -> Iterator[Kept]:
    """A handler where Lightning has its own."""
    handler = Kept()
    logging.getLogger("lightning.pytorch").addHandler(handler)
    yield handler
    logging.getLogger("lightning.pytorch").removeHandler(handler)


def remark() -> None:
    """Say what Lightning says, and a library of its insides."""
    LOGGER.warning(TIP)
    LOGGER.warning("The batch is small.")
    for category, text in (
        (FutureWarning, "LeafSpec is deprecated"),
        (UserWarning, "The dirpath has changed from 'a' to 'b'"),
        (UserWarning, "Few batches"),
    ):
        warnings.warn_explicit(text, category, "f.py", 1, module="lightning.pytorch.loops")
    warnings.warn_explicit("mine is old", FutureWarning, "f.py", 1, module="my_own.parts")


def test_advertisements_and_deprecations_of_libraries_are_left_out(kept: Kept) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with without_remarks():
            remark()
    assert kept.messages == ["The batch is small."]
    assert [str(w.message) for w in warned] == ["Few batches", "mine is old"]
    LOGGER.warning(TIP)  # afterwards all is as it was
    assert kept.messages[-1] == TIP


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("/venv/lib/python3/site-packages/lightning/a.py", "Warning: few\n"),
        (remarks.__file__, "Warning: few\n"),
        ("/home/me/b.py", "/home/me/b.py:7: UserWarning: few\n"),
    ],
)
def test_a_warning_names_its_line_only_in_code_of_the_user(place: str, told: str) -> None:
    before = warnings.formatwarning
    with without_remarks():
        assert warnings.formatwarning("few", UserWarning, place, 7, "") == told
    assert warnings.formatwarning is before


def test_everything_is_there_for_those_who_look_for_a_mistake(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDGS_DEBUG", "1")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with without_remarks():
            remark()
    assert len(kept.messages) == 2
    assert len(warned) == 4


def test_output_of_all_kinds_goes_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "run.log"
    for _ in range(2):
        with output_to(log, append=True):
            print("printed")
            LOGGER.warning(TIP)
    assert log.read_text().split("\n") == ["printed", TIP, "printed", TIP, ""]
    assert capsys.readouterr() == ("", "")
