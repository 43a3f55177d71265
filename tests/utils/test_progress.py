"""What long work says of itself, on a terminal and in a log."""

import io
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from qdgs_lightning.utils import progress as module
from qdgs_lightning.utils.progress import LINE_WIDTH, Meter, progress


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rich take what pytest captures for a terminal of 80 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_a_log_gets_a_line_at_the_start_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Packing", 1_234, unit="images") as meter:
        for _ in range(1_234):
            meter.advance()
    first, last = capsys.readouterr().out.splitlines()
    assert first == "Packing: 0 of 1,234 images"
    assert last.startswith("Packing: done, 1,234 of 1,234 in 0:00:0")


def test_a_continuation_says_from_where(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Searching", 20_000, start=5_120, unit="evaluations"):
        pass
    assert "Searching: from 5,120 of 20,000 evaluations\n" in capsys.readouterr().out


def test_an_error_ends_the_log_with_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with progress("Drawing", 10) as meter:
            meter.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "Drawing: stopped at 3 of 10 in" in capsys.readouterr().out


def test_a_line_comes_while_a_single_step_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.01)
    log, came = _Log(lines=3), None
    monkeypatch.setattr("sys.stdout", log)
    with progress("Searching", 500):
        came = log.full.wait(timeout=60)
    assert came
    line = log.getvalue().splitlines()[1]
    assert re.fullmatch(r"Searching: 0 of 500, 0\.0/s, 0:00:\d\d so far", line)


@pytest.mark.usefixtures("_terminal")
def test_a_terminal_of_80_columns_shows_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Searching", 200_000, unit="evaluations") as meter:
        meter.update(105_120, "coverage 24.1%", "best 104.2", "QD-score 1234567")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    (last,) = [line for line in re.split(r"[\r\n]+", shown) if "105,120 of 200,000" in line][-1:]
    assert len(last.rstrip()) <= 80
    assert last.rstrip().endswith(" left")
    assert "coverage" not in last or "coverage 24.1%" in last  # whole or not at all
    assert "━" in last


@pytest.mark.usefixtures("_terminal")
def test_a_terminal_that_is_to_have_no_bar_gets_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("Searching", 10, bar=False):
        pass
    assert capsys.readouterr().out.startswith("Searching: 0 of 10\n")


def test_a_report_on_standard_output_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Decoding", 10, aside=True):
        pass
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("Decoding: 0 of 10\n")


def test_brief_work_and_other_processes_leave_a_log_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("Indexing", 100, brief=True) as meter:
        meter.update(100)
    with progress("Searching", 100, shown=False) as meter:
        meter.update(100)
        meter.print("unseen")
    assert capsys.readouterr() == ("", "")


@given(
    doing=st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1, max_size=60),
    total=st.integers(1, 10**7),
    share=st.floats(0, 1),
    seconds=st.floats(0.1, 10**6),
    unit=st.sampled_from(["", "images", "bytes"]),
)
def test_lines_fit_80_columns_with_the_time_left(
    doing: str, total: int, share: float, seconds: float, unit: str
) -> None:
    meter = Meter(doing, total, unit=unit, console=Console())
    meter.update(int(share * total), "coverage 24.1%", "best 104.2", "QD-score 1234567")
    line = meter.line(seconds)
    assert len(line) <= LINE_WIDTH
    assert line.endswith((" left", " so far"))
    assert len(meter.last_line(seconds)) <= LINE_WIDTH


def test_rate_and_time_left_leave_earlier_work_out() -> None:
    meter = Meter("Searching", 20_000, start=5_000, console=Console())
    meter.update(8_000, "coverage 24.1%")
    # 3,000 in 60 s are 50 a second, so that the other 12,000 take four minutes.
    assert meter.line(60) == "Searching: 8,000 of 20,000, 50/s, coverage 24.1%, 0:04:00 left"


def test_slow_work_is_counted_by_the_hour_and_files_in_bytes() -> None:
    jobs = Meter("Working", 50, console=Console())
    jobs.update(3)
    assert jobs.line(3_600) == "Working: 3 of 50, 3/h, 15:40:00 left"
    file = Meter("Reading", 300_000_000, unit="bytes", console=Console())
    file.update(100_000_000)
    assert file.line(2) == "Reading: 100.0 MB of 300.0 MB, 50.0 MB/s, 0:00:04 left"


class _Log(io.StringIO):
    """A file that knows when it has so many lines."""

    def __init__(self, *, lines: int) -> None:
        super().__init__()
        self.full = threading.Event()
        self._lines = lines

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\n") >= self._lines:
            self.full.set()
        return written
