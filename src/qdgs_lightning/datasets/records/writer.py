"""Write face images as insightface's tools do, for them and for `RecordIODataset`."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from qdgs_lightning.datasets.records.file import Record, RecordIOError, write_record
from qdgs_lightning.datasets.records.index import RecordIndex
from qdgs_lightning.utils.atomic_files import replacing


def write_record_dataset(
    root: Path,
    identities: Iterable[Iterable[bytes]],
    *,
    height: int,
    width: int,
    name: str = "train",
) -> None:
    """Write ``train.rec``, ``train.idx`` and ``property``: all of them, or none.

    Images get the keys from 1 on, grouped by identity; the i-th identity has the label i. Then
    comes one record for each identity, with the keys of its images, and at the very end that of
    key 0, with the keys of those records.

    Args:
        root: The folder; made if need be.
        identities: For each the JPEG or PNG files of its images.
        height: Of the images in pixels, for `property`.
        width: Of the images in pixels.
        name: Stem of the first two files.

    Raises:
        RecordIOError: An identity has no image, or there is none at all.
        OSError: The folder cannot be written.
    """
    offsets: dict[int, int] = {}
    ranges: list[tuple[int, int]] = []
    with (
        replacing(root / "property") as unfinished_property,
        replacing(root / f"{name}.idx") as unfinished_index,
        replacing(root / f"{name}.rec") as unfinished,
    ):
        with unfinished.open("wb") as file:

            def write(record: Record) -> None:
                offsets[record.key] = write_record(file, record.to_bytes())

            key = 1
            for label, images in enumerate(identities):
                first = key
                for image in images:
                    write(Record(labels=(float(label),), payload=image, key=key))
                    key += 1
                if key == first:
                    raise RecordIOError(f"Identity {label} has no image; leave it out.")
                ranges.append((first, key))
            if not ranges:
                raise RecordIOError(f"There is no identity to write to {root}.")
            first = key
            for low, high in ranges:
                write(_metadata(low, high, key=key))
                key += 1
            write(_metadata(first, key, key=0))
        keys = np.array(sorted(offsets), dtype=np.int64)
        found = np.array([offsets[int(key)] for key in keys], dtype=np.int64)
        RecordIndex(keys=keys, offsets=found).save(unfinished_index)
        unfinished_property.write_text(f"{len(ranges)},{height},{width}\n")


def _metadata(low: int, high: int, *, key: int) -> Record:
    """Make a record that describes those of the keys from low to high, which is not among them."""
    return Record(
        labels=(float(low), float(high)), payload=b"", key=key, second_id=1 - min(key, 1),
        is_vector=True,
    )  # fmt: skip
