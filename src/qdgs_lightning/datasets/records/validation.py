"""Find everything that is wrong with a RecordIO file, its index and its ``property``."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qdgs_lightning.datasets.records.file import Record, RecordFile, RecordIOError
from qdgs_lightning.datasets.records.index import (
    RecordIndex,
    RecordLayout,
    find_layout,
    index_by_ids,
    parse_index,
    read_property,
)
from qdgs_lightning.datasets.validation import Findings, ImageCheck, ImageChecks
from qdgs_lightning.utils.progress import progress

_MOST_NAMED = 5


class RecordChecks(ImageChecks):
    """The images of a RecordIO file.

    Args:
        file: The file.
        keys: Of the images.
        offsets: Where their records begin.
    """

    def __init__(
        self, file: RecordFile, keys: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> None:
        self.file = file
        self.keys = keys
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.keys)

    def load(self, row: int) -> tuple[bytes, int]:
        """Return the payload of a record and its label, which must be a whole number.

        Raises:
            RecordIOError: It is damaged.
        """
        record = Record.from_bytes(self.file.read(int(self.offsets[row])))
        label = record.labels[0]
        if not (label.is_integer() and label >= 0):
            raise RecordIOError(f"its label is {label:g}, no identity")
        return record.payload, int(label)

    def name(self, row: int) -> str:
        """Name the record by its key."""
        return f"Record {self.keys[row]} of {self.file.path}"


def check_records(path: Path, findings: Findings, *, workers: int | None) -> None:
    """Look for damage in a ``.rec`` file and in what belongs to it.

    Args:
        path: The ``.rec`` file.
        findings: Gets what is found.
        workers: How many processes decode; chosen by the number of images where None.

    Raises:
        RecordIOError: The file cannot be read at all.
    """
    file = RecordFile(path)
    records = _find_records(file, findings)
    if not records:
        return
    offsets, ids, describing = zip(*records, strict=True)
    index = _check_index(path.with_suffix(".idx"), file, np.array(offsets), findings)
    if index is None:
        index = index_by_ids(ids, offsets)
        twice = [key for key, count in Counter(ids).items() if count > 1]
        if twice:
            findings.notes.append(
                f"Records of {path} share an id, such as {twice[0]}; their places serve as keys."
            )
    try:
        layout = find_layout(file, index)
    except RecordIOError as error:
        findings.problems.append(str(error))
        layout = RecordLayout(index.keys, 0, False)
    if not layout.has_metadata:  # not even where those of identities are left of a damaged file
        metadata = np.array(offsets)[np.array(describing)]
        images = index.keys[~np.isin(index.offsets, metadata)]
        layout = RecordLayout(images, 0, False)
    said = _property(path.parent / "property", findings)
    _check_images(file, index, layout, said, findings, workers=workers)


def _find_records(file: RecordFile, findings: Findings) -> list[tuple[int, int, bool]]:
    """Go through a file; return where whole records begin, their ids, and which hold no image."""
    found: list[tuple[int, int, bool]] = []
    place, size = 0, len(file.data)
    with progress("Reading", size, unit="bytes", brief=True) as meter:
        while place < size:
            try:
                end = file.end(place)
                record = Record.from_bytes(file.read(place))
                found.append((place, record.key, record.is_metadata))
                place = end
            except RecordIOError as error:
                findings.problems.append(str(error))
                place = file.next_magic(place + 4)
            meter.update(place)
    return found


def _check_index(
    path: Path, file: RecordFile, offsets: NDArray[np.int64], findings: Findings
) -> RecordIndex | None:
    """Compare an index with the places of the records; return it if all agrees."""
    if not path.exists():
        findings.notes.append(f"{path} is missing; it is made when the set is first used.")
        return None
    try:
        index = parse_index(path)
    except RecordIOError as error:
        findings.problems.append(str(error))
        return None
    wrong = ~np.isin(index.offsets, offsets)
    if wrong.any():
        key, offset = index.keys[wrong][0], index.offsets[wrong][0]
        beyond = ", beyond its end" if offset >= len(file.data) else ""
        findings.problems.append(
            f"{path} is of another file or damaged: {wrong.sum()} of its {len(index)} keys name "
            f"places of {file.path} where no whole record begins, such as key {key} byte "
            f"{offset}{beyond}; remove it, and it is made anew."
        )
    left_out = ~np.isin(offsets, index.offsets)
    if left_out.any():
        findings.problems.append(
            f"{path} leaves out {left_out.sum()} of {len(offsets)} records of {file.path}, such as "
            f"that at byte {offsets[left_out][0]}; remove it, and it is made anew."
        )
    return None if wrong.any() or left_out.any() else index


def _property(path: Path, findings: Findings) -> list[int]:
    """Read the numbers of ``property``."""
    try:
        return read_property(path)
    except RecordIOError as error:
        findings.problems.append(str(error))
        return []


def _check_images(
    file: RecordFile,
    index: RecordIndex,
    layout: RecordLayout,
    said: list[int],
    findings: Findings,
    *,
    workers: int | None,
) -> None:
    """Decode images, and compare labels and sizes with what metadata and ``property`` say."""
    offsets = index.offsets[np.searchsorted(index.keys, layout.keys)]
    images = RecordChecks(file, layout.keys, offsets)
    limit = layout.num_identities or (said[0] if said else 0)

    def differs(check: ImageCheck) -> str:
        """Say what an image that can be decoded has against ``property`` and metadata."""
        if limit and check.label >= limit:
            return f"its label is {check.label}, not one of {limit}"
        header = check.header
        if header and len(said) == 3 and [header.height, header.width] != said[1:]:
            return (
                f"it has {header.width} x {header.height} pixels, not {said[2]} x {said[1]} as "
                "property says"
            )
        return ""

    seen: set[int] = set()
    for check in findings.check(images, workers=workers, also=differs):
        seen.add(check.label)
    if len(said) < 3:  # otherwise each image was compared with property
        findings.compare_sizes(file.path)
    seen = {label for label in seen if label >= 0 and not (limit and label >= limit)}
    found = layout.num_identities or max(seen, default=-1) + 1
    findings.identities = found
    if said and said[0] != found:
        findings.problems.append(
            f"{file.path.with_name('property')} says {said[0]} classes and {file.path} has {found}."
        )
    if len(seen) < found:
        some = islice((label for label in range(found) if label not in seen), _MOST_NAMED)
        findings.problems.append(
            f"{found - len(seen)} of {found} identities of {file.path} have no image: "
            f"{', '.join(map(str, some))}{', ...' if found - len(seen) > _MOST_NAMED else ''}."
        )
