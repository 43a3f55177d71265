"""What `qdgs doctor` says: one finding per line."""

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled
from rich.table import Table
from rich.text import Text

from qdgs_lightning.errors import QDGSError

State = Literal["ok", "warning", "missing", "wrong"]
STANDS_IN_THE_WAY: tuple[State, ...] = ("missing", "wrong")

_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red", "wrong": "red"}
_WIDTH = 22  # of the subject


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report.

    Attributes:
        state: ``missing`` and ``wrong`` stand in the way of a run; a ``warning`` does not.
        subject: What was looked at.
        found: What was found.
        advice: What to do, where anything is to be done.
        numbers: What was measured or counted, by name.
    """

    state: State
    subject: str
    found: str
    advice: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    def to_text(self) -> Text:
        """Return one line, however long it is: for files and for programs such as grep."""
        line = Text(f"{self.state:<8}", style=_COLOURS[self.state])
        line.append(f"{self.subject:<{_WIDTH}} {self._told}", style="default")
        return line

    def to_row(self) -> Table:
        """Return the same for a terminal: what is too long for it goes on below its beginning."""
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(width=7)
        row.add_column(width=_WIDTH)
        row.add_column(overflow="fold")
        row.add_row(
            Text(self.state, style=_COLOURS[self.state]), *map(Text, (self.subject, self._told))
        )
        return row

    @property
    def _told(self) -> str:
        """What was found, and what to do about it."""
        return f"{self.found} -> {self.advice}" if self.advice else self.found

    def to_sentence(self) -> str:
        """Return the line as the sentence of an error."""
        advice = f": {self.advice}" if self.advice else ""
        return f"{self.subject}: {self.found.rstrip('.')}{advice.rstrip('.')}."

    def to_json(self) -> dict[str, object]:
        """Return the line in JSON types."""
        return asdict(self)


def ok(subject: str, found: str, **numbers: float) -> Finding:
    """Say that something is as it should be."""
    return Finding(state="ok", subject=subject, found=found, numbers=numbers)


def warning(subject: str, found: str, advice: str, **numbers: float) -> Finding:
    """Say that something is probably not meant so."""
    return Finding(state="warning", subject=subject, found=found, advice=advice, numbers=numbers)


def missing(subject: str, found: str, advice: str) -> Finding:
    """Say that something is not there."""
    return Finding(state="missing", subject=subject, found=found, advice=advice)


def wrong(subject: str, found: str, advice: str = "") -> Finding:
    """Say that the run would end here."""
    return Finding(state="wrong", subject=subject, found=found, advice=advice)


def failure(subject: str, error: BaseException) -> Finding:
    """Turn what the run itself would raise into a finding.

    Args:
        subject: What was looked at.
        error: What was raised.

    Returns:
        The sentence of the error, which names what to do: ``missing`` if a file is, and a
        ``warning`` if the run would download it.
    """
    causes = list(_chain(error))
    said = next((cause for cause in causes if isinstance(cause, QDGSError)), error)
    sentence = " ".join(str(said).split()) or type(said).__name__
    if not isinstance(said, QDGSError | OSError):
        sentence = f"{type(said).__name__}: {sentence}"
    if any(_is_of_hub(cause) for cause in causes):
        if hub_answers():
            advice = "let the run download it when it starts, or bring it as described"
            return warning(subject, f"not on this machine yet ({sentence.rstrip('.')})", advice)
        return missing(subject, sentence, "bring the file, or run where the hub can be reached")
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return missing(subject, sentence, "bring the file, or correct its path")
    return wrong(subject, sentence)


def guarded(check: Callable[[], Iterable[Finding]], name: str) -> Iterator[Finding]:
    """Go through a check; what breaks it becomes a finding, and what it found before stays.

    An error that no check foresees stands in the way: the run may well end in the same one. Only
    what the system refuses the doctor alone, such as a file that is none of the run's, does not.

    Args:
        check: To be called.
        name: What it looks at.
    """
    try:
        yield from check()
    except QDGSError as error:
        yield failure(name, error)
    except OSError as error:
        yield warning(name, f"could not be looked at ({_named(error)})", "look at it yourself")
    except Exception as error:  # of whatever library: a doctor has no right to fall ill
        if os.environ.get("QDGS_DEBUG"):
            raise
        yield wrong(
            name,
            f"could not be looked at ({_named(error)})",
            "correct the option that this is about; QDGS_DEBUG=1 shows where it comes from",
        )


def _named(error: Exception) -> str:
    """Write an error in one line, its type first."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def hub_answers() -> bool:
    """Whether the Hugging Face hub can be reached, and may be (``HF_HUB_OFFLINE``)."""
    if _OFFLINE_BY_CHOICE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


_OFFLINE_BY_CHOICE = constants.is_offline_mode()  # `without_downloads` changes it later


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Go from an error back to what caused it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_of_hub(error: BaseException) -> bool:
    """Whether something would have had to be downloaded."""
    # open_clip keeps only the text of the hub's error.
    told = "offline mode" in str(error) or "Failed to download file" in str(error)
    return isinstance(error, OfflineModeIsEnabled) or told
