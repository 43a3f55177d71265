"""Packing of images into a RecordIO file or a file of pairs."""

from pathlib import Path
from typing import Literal

import torch

from qdgs_lightning.datasets.formats import Kind, find_kind
from qdgs_lightning.datasets.image_folder import FaceFolderDataset, open_face_dataset
from qdgs_lightning.datasets.landmarks import AlignedFaces, read_landmarks
from qdgs_lightning.datasets.records.dataset import RecordIODataset
from qdgs_lightning.datasets.records.packing import pack_dataset
from qdgs_lightning.datasets.resizing import RESIZING
from qdgs_lightning.datasets.verification.convert import pack_pairs
from qdgs_lightning.utils.console import DataError, counting, say


def pack_set(
    *,
    source: Path,
    output: Path,
    format: Literal["auto", "rec", "bin"] = "auto",
    pairs: int | Path | None = None,
    seed: int = 0,
    size: int | None = None,
    align: Path | None = None,
    quality: int = 95,
    force: bool = False,
) -> None:
    """Pack images into one file; see `qdgs data pack`."""
    if size is not None and not 1 <= size <= 4096:
        raise DataError(f"size is {size}; give a whole number from 1 to 4096.")
    if not 1 <= quality <= 100:
        raise DataError(f"quality is {quality}; give a whole number from 1 to 100.")
    kind, source = find_kind(source)
    if format == "bin" or (format == "auto" and output.suffix == ".bin"):
        if align is not None:
            raise DataError("align makes a training set; pack that, then the .bin file out of it.")
        _refuse_old(output, force=force)
        pack_pairs(
            kind, source, output, pairs=pairs, seed=seed, size=size, quality=quality
        )  # fmt: skip
        return
    if pairs is not None:
        raise DataError("pairs belong into a .bin file; give an output that ends in .bin.")
    if kind is Kind.PAIRS:
        raise DataError(f"{source} holds pairs, not identities; give an output that ends in .bin.")
    if align is not None and kind is not Kind.FOLDER:
        raise DataError(f"{source} is no folder of identities, whose images align could name.")
    _refuse_old(output / "train.rec", force=force)
    _pack_records(source, output, size=size, align=align, quality=quality)


def _pack_records(
    source: Path, output: Path, *, size: int | None, align: Path | None, quality: int
) -> None:
    """Write a training set."""
    dataset: AlignedFaces | FaceFolderDataset | RecordIODataset = open_face_dataset(source)
    if align is not None:
        faces, side = FaceFolderDataset(source), 112 if size is None else size
        dataset, size = AlignedFaces(faces, read_landmarks(align), size=side), None
    new = not output.exists()
    try:
        with counting("Packing", len(dataset)) as advance:
            pack_dataset(dataset, output, size=size, quality=quality, progress=advance)
    finally:
        if new and output.is_dir() and not any(output.iterdir()):
            output.rmdir()
    written = (output / "train.rec").stat().st_size
    say(
        f"Written: {output / 'train.rec'} with train.idx and property, {len(dataset):,} images of "
        f"{len(torch.unique(dataset.labels)):,} identities, {written:,} bytes."
    )
    if align is not None:
        say(f"Aligned to the five points of ArcFace by {align}.")
    if size is not None:
        say(f"Resized to {size} pixels: {RESIZING}.")


def _refuse_old(path: Path, *, force: bool) -> None:
    """Make sure that nothing is overwritten unasked.

    Raises:
        DataError: It would be.
    """
    if path.exists() and not force:
        raise DataError(f"{path} is there already; choose another name, or add --force true.")
    if path.is_dir():
        raise DataError(f"{path} is a folder; choose another name.")
