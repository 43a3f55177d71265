"""Summary of a training set or benchmark: counts, sizes, layout and colours."""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from qdgs_lightning.datasets import (
    FaceFolderDataset,
    RecordIODataset,
    load_verification_pairs,
    open_face_dataset,
)
from qdgs_lightning.datasets.formats import Kind, find_kind
from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.datasets.image_header import image_header
from qdgs_lightning.datasets.records.file import Record, RecordFile, RecordIOError
from qdgs_lightning.datasets.records.index import read_index
from qdgs_lightning.datasets.resizing import RESIZING
from qdgs_lightning.datasets.verification.convert import describe_pairs, image_file
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.console import DataError, say

T = TypeVar("T")

_BLUER = 5.0
"""By how many of 255 steps blue must exceed red to look like swapped channels."""


def print_summary(*, path: Path, sample: int = 1000) -> None:
    """Print what a set holds; see `qdgs data inspect`."""
    if sample < 1:
        raise DataError(f"sample is {sample}; give a whole number of at least 1.")
    kind, path = find_kind(path)
    if kind is Kind.PAIRS:
        rows, files = _pairs(path, sample)
    else:
        rows, files = _identities(path, sample)
    rows += _looks(files)
    width = max(len(name) for name, _ in rows)
    say(str(path), *(f"  {name:<{width}}  {value}" for name, value in rows))


def _identities(path: Path, sample: int) -> tuple[list[tuple[str, str]], list[bytes]]:
    """Describe a training set, and take a sample of its image files."""
    indexed = path.with_suffix(".idx").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the state of the index is told below
        dataset = open_face_dataset(path)
    labels = dataset.labels
    counts = torch.bincount(labels[labels >= 0], minlength=dataset.num_classes)
    full = counts[counts > 0]
    lines = [
        ("images", f"{len(dataset):,}"),
        ("identities", f"{dataset.num_classes:,}{_with(int((counts == 0).sum()), 'no image')}"),
        (
            "images each",
            f"{int(full.min())} to {int(full.max())}, median {float(full.double().median()):g}"
            f"{_with(int((counts == 1).sum()), 'a single image')}",
        ),
    ]
    rows = spread(len(dataset), sample)
    if isinstance(dataset, FaceFolderDataset):
        return lines, [_tried(dataset.encoded, row) or b"" for row in rows]
    records = [record for row in rows if (record := _tried(dataset.record, row))]
    lines += _records(path, dataset, records, indexed=indexed)
    bad = [b""] * (len(rows) - len(records))
    return lines, [*(record.payload for record in records), *bad]


def _tried(load: Callable[[int], T], row: int) -> T | None:
    """Load something; nothing where it is damaged."""
    try:
        return load(row)
    except QDGSError:
        return None


def _with(count: int, what: str) -> str:
    """Say how many have something unusual, if any."""
    return f", {count:,} with {what}" if count else ""


def _records(
    path: Path, dataset: RecordIODataset, records: list[Record], *, indexed: bool
) -> list[tuple[str, str]]:
    """Describe what a RecordIO file and its neighbours have besides images."""
    kinds = Counter(
        f"vectors of {len(record.labels)}" if record.is_vector else "scalars" for record in records
    )
    head = "record 0 describes the identities, as insightface's tools write it"
    described = path.with_name("property")
    return [
        ("layout", head if dataset.has_metadata else "images only"),
        ("labels", _shares(kinds)),
        ("index", _index_state(path, indexed=indexed)),
        ("property", described.read_text().strip() if described.exists() else "none"),
        ("size", f"{path.stat().st_size:,} bytes"),
    ]


def _index_state(path: Path, *, indexed: bool) -> str:
    """Say whether the index could be used."""
    index = path.with_suffix(".idx")
    if not indexed:
        return "was missing; made now" + (" and kept" if index.exists() else "")
    try:
        return f"whole, {len(read_index(index, RecordFile(path))):,} keys"
    except RecordIOError as error:
        return f"not used ({str(error).rstrip('.')})"


def _pairs(path: Path, sample: int) -> tuple[list[tuple[str, str]], list[bytes]]:
    """Describe a benchmark, and take a sample of its image files."""
    pairs = load_verification_pairs(path)
    lines = [("images", f"{len(pairs):,} different ones"), *describe_pairs(pairs.is_same)]
    if pairs.dialect:
        lines.append(("list", pairs.dialect))
    if path.is_file():
        lines.append(("size", f"{path.stat().st_size:,} bytes"))
    lines.append(("resizing", f"{RESIZING}, where a network takes another size"))
    load = partial(image_file, pairs)
    return lines, [_tried(load, row) or b"" for row in spread(len(pairs), sample)]


def spread(n: int, sample: int) -> list[int]:
    """Choose places evenly spaced over n, all of them if there are fewer than asked for."""
    return [int(place) for place in np.linspace(0, n - 1, min(n, sample))]


def _looks(files: list[bytes]) -> list[tuple[str, str]]:
    """Describe formats, sizes and colours of images, those that can be decoded."""
    kinds: Counter[str] = Counter()
    total, seen = torch.zeros(3, dtype=torch.float64), 0
    for data in files:
        try:
            image, header = decode_rgb(data), image_header(data)
        except QDGSError:
            kinds["bad (see qdgs data verify)"] += 1
            continue
        kinds[f"{header.format} {header.colours} {header.width} x {header.height}"] += 1
        total += image.double().mean(dim=(1, 2))
        seen += 1
    lines = [(f"{len(files):,} looked at", _shares(kinds))]
    if seen:
        lines += _colours(total / seen)
    return lines


def _colours(mean: Tensor) -> list[tuple[str, str]]:
    """Give the mean of each channel, with a warning if blue exceeds red."""
    red, green, blue = mean.tolist()
    lines = [("mean colour", f"red {red:.0f}, green {green:.0f}, blue {blue:.0f} of 255")]
    if blue - red > _BLUER:
        lines.append(
            ("warning", "blue exceeds red, so that red and blue were probably swapped when saved")
        )
    return lines


def _shares(kinds: Counter[str]) -> str:
    """List kinds by their numbers; without numbers if there is one kind only."""
    if len(kinds) < 2:
        return next(iter(kinds), "none that can be read")
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
