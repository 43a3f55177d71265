"""Verification that every image of a set can be decoded."""

from pathlib import Path

from qdgs_lightning.datasets import RecordIOError, VerificationDataError
from qdgs_lightning.datasets.folder_validation import check_folder
from qdgs_lightning.datasets.formats import Kind, find_sets
from qdgs_lightning.datasets.records.validation import check_records
from qdgs_lightning.datasets.validation import Findings
from qdgs_lightning.datasets.verification.convert import check_pairs
from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.utils.console import DataError, say

_CHECKS = {Kind.RECORDS: check_records, Kind.PAIRS: check_pairs, Kind.FOLDER: check_folder}
_MOST_SHOWN = 20


def verify_sets(*, path: Path, workers: int | None = None, report: Path | None = None) -> None:
    """Decode every image and print what is damaged; see `qdgs data verify`."""
    sets, problems, interrupted = find_sets(path), list[str](), ""
    for kind, place in sets:
        findings = Findings()
        try:
            _CHECKS[kind](place, findings, workers=workers)
        except (RecordIOError, VerificationDataError) as error:
            if len(sets) == 1:
                raise
            findings.problems.append(str(error))
        except KeyboardInterrupt:
            interrupted = f"after {findings.checked} of {findings.images} images of {place}"
        _show(place, findings)
        problems += findings.problems
        if interrupted:
            break
    if report is not None:
        with replacing(report) as unfinished:
            unfinished.write_text("".join(f"{problem}\n" for problem in problems))
    count = _count(len(problems), "problem")
    if interrupted:
        raise DataError(
            f"Interrupted {interrupted} with {count} so far; start again to see the rest."
        )
    if problems:
        raise DataError(f"{path} has {count}; mend what is named above.")


def _show(path: Path, findings: Findings) -> None:
    """Tell what was found."""
    lines = [*findings.problems[:_MOST_SHOWN]]
    if (hidden := len(findings.problems) - _MOST_SHOWN) > 0:
        lines.append(f"... and {hidden} more; all are in the file that --report names.")
    lines += findings.notes
    images = _count(findings.images, "image")
    of = "" if findings.identities is None else f" of {_count(findings.identities, 'identity')}"
    lines.append(f"{path}: {images}{of}, {_count(len(findings.problems), 'problem')}.")
    for (name, colours, width, height), count in findings.formats.most_common(10):
        lines.append(f"  {count:>9,} {name} {colours} {width} x {height}")
    say(*lines)


def _count(number: int, noun: str) -> str:
    """Write a number with what it counts."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
