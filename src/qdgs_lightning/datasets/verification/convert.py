"""Benchmarks of pairs, checked, packed and unpacked."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from qdgs_lightning.datasets import (
    VerificationPairs,
    load_verification_pairs,
    open_face_dataset,
    write_verification_bin,
)
from qdgs_lightning.datasets.formats import Kind
from qdgs_lightning.datasets.image_decoding import ImageDecodingError
from qdgs_lightning.datasets.image_header import image_header
from qdgs_lightning.datasets.records.packing import encode_jpeg, resized_jpeg
from qdgs_lightning.datasets.resizing import RESIZING, ResizingError
from qdgs_lightning.datasets.validation import Findings, ImageChecks
from qdgs_lightning.datasets.verification.draw import FOLDS, draw_pairs
from qdgs_lightning.datasets.verification.folds import unmixed_folds, why_no_accuracy
from qdgs_lightning.utils.console import DataError, counting, new_folder, say


def image_file(pairs: VerificationPairs, row: int) -> bytes:
    """Return the file of an image of a benchmark.

    Args:
        pairs: The benchmark.
        row: Which image.

    Returns:
        Its bytes as they are kept; a new JPEG file where a benchmark aligns its images first.

    Raises:
        VerificationDataError: It cannot be read.
    """
    kept = pairs.encoded(row)
    return encode_jpeg(pairs[row][0]) if kept is None else kept


class PairChecks(ImageChecks):
    """The images of a benchmark.

    Args:
        pairs: The benchmark.
    """

    def __init__(self, pairs: VerificationPairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, row: int) -> tuple[bytes, int]:
        """Return the file of an image; whom it shows is not known.

        Raises:
            VerificationDataError: It cannot be read.
        """
        return image_file(self.pairs, row), -1

    def name(self, row: int) -> str:
        """Say where the image is."""
        return f"Image {self.pairs.describe(row)}"


def check_pairs(path: Path, findings: Findings, *, workers: int | None) -> None:
    """Look for damage in a benchmark.

    Args:
        path: A ``.bin`` file, or a folder with a list of pairs.
        findings: Gets what is found.
        workers: How many processes decode; chosen by the number of images where None.

    Raises:
        VerificationDataError: It cannot be opened; the sentence says why.
    """
    pairs = load_verification_pairs(path)
    findings.notes += [f"{name}: {value}" for name, value in describe_pairs(pairs.is_same)]
    if reason := why_no_accuracy(pairs.is_same):
        findings.problems.append(f"{path} has no accuracy: {reason}.")
    for _ in findings.check(PairChecks(pairs), workers=workers):
        pass


def describe_pairs(is_same: Tensor) -> list[tuple[str, str]]:
    """Count pairs, and say whether the ten folds of the usual protocol are balanced.

    Args:
        is_same: Whether each pair is of one person, bool, shape ``[n]``.

    Returns:
        Names and values.
    """
    n, same = len(is_same), int(is_same.sum())
    folds = torch.tensor_split(is_same, FOLDS)
    counts = {(int(fold.sum()), len(fold)) for fold in folds}
    shares = [share for share, _ in counts]
    if reason := why_no_accuracy(is_same):
        balance = f"no accuracy: {reason}"
    elif unmixed := unmixed_folds(is_same):
        balance = f"{unmixed} of {FOLDS} have one kind of pairs, so that accuracy means little"
    elif len(counts) == 1:
        (share, size) = counts.pop()
        balance = f"each of {FOLDS} has {share:,} pairs of one person and {size - share:,} of two"
    else:
        balance = f"each of {FOLDS} has {min(shares):,} to {max(shares):,} pairs of one person"
    return [("pairs", f"{n:,}, {same:,} of one person and {n - same:,} of two"), ("folds", balance)]


def pack_pairs(
    kind: Kind,
    source: Path,
    output: Path,
    *,
    pairs: int | Path | None,
    seed: int,
    size: int | None,
    quality: int,
) -> None:
    """Write a ``.bin`` file.

    Args:
        kind: What the source is.
        source: Where images come from.
        output: The file.
        pairs: A list of pairs, or how many to draw; None where the source has its own.
        seed: Of the pairs that are drawn.
        size: Side to bring images to; None leaves their files as they are.
        quality: Of new JPEG files.

    Raises:
        QDGSError: An option does not fit, or the source is damaged.
    """
    rows, is_same, load, describe = _chosen(kind, source, pairs=pairs, seed=seed)
    files: dict[int, bytes] = {}
    with counting("Packing", len(distinct := torch.unique(rows).tolist())) as advance:
        for row in distinct:
            files[row] = load(row)
            try:
                if size is None:
                    image_header(files[row])
                else:
                    files[row] = resized_jpeg(files[row], size=size, quality=quality)
            except (ImageDecodingError, ResizingError) as error:
                raise DataError(
                    f"Cannot pack {describe(row)} ({str(error).rstrip('.')}); remove or mend it."
                ) from error
            advance()
    write_verification_bin(output, (files[row] for row in rows.flatten().tolist()), is_same)
    same = int(is_same.sum())
    say(
        f"Written: {output}, {len(rows):,} pairs ({same:,} of one person, {len(rows) - same:,} of "
        f"two) of {len(files):,} images, {output.stat().st_size:,} bytes."
    )
    if size is not None:
        say(f"Resized to {size} pixels: {RESIZING}.")


def _chosen(
    kind: Kind, source: Path, *, pairs: int | Path | None, seed: int
) -> tuple[Tensor, Tensor, Callable[[int], bytes], Callable[[int], str]]:
    """Return pairs of rows, which are of one person, and what loads and names the image of one."""
    if isinstance(pairs, int):
        if kind is Kind.PAIRS:
            raise DataError(f"{source} has pairs of its own; leave pairs out.")
        images = open_face_dataset(source)
        random = torch.Generator().manual_seed(seed)
        rows, is_same = draw_pairs(images.labels, pairs, random)
        return rows, is_same, images.encoded, images.source
    if kind is Kind.RECORDS:
        raise DataError(
            f"{source} holds no files that a list could name; set pairs to a number of them, such "
            "as 6000."
        )
    if kind is Kind.FOLDER and pairs is None:
        raise DataError(
            f"{source} has no pairs.txt; set pairs to a list, or to a number of them, such as 6000."
        )
    benchmark = load_verification_pairs(source, pairs=pairs)
    load = partial(image_file, benchmark)
    return benchmark.pairs, benchmark.is_same, load, lambda row: f"image {benchmark.describe(row)}"


def unpack_pairs(source: Path, output: Path) -> None:
    """Write the images of a ``.bin`` file, each once, and ``pairs.txt``.

    The list has lines ``path1 path2 flag``, with flag 1 for one person and 0 for two.

    Args:
        source: The file.
        output: The new folder.

    Raises:
        QDGSError: The source is damaged, or the output is there already.
    """
    if source.is_dir():
        raise DataError(f"{source} holds images already; name a .rec or .bin file.")
    pairs = load_verification_pairs(source)
    digits, names = len(str(len(pairs) - 1)), []
    with new_folder(output) as unfinished, counting("Unpacking", len(pairs)) as advance:
        for row in range(len(pairs)):
            data = image_file(pairs, row)
            try:
                names.append(f"{row:0{digits}}{image_header(data).suffix}")
            except ImageDecodingError as error:
                reason = str(error).rstrip(".")
                raise DataError(
                    f"Cannot unpack image {pairs.describe(row)} ({reason}); list all that are "
                    "damaged with qdgs data verify."
                ) from error
            (unfinished / names[-1]).write_bytes(data)
            advance()
        lines = [
            f"{names[first]} {names[second]} {int(same)}\n"
            for (first, second), same in zip(
                pairs.pairs.tolist(), pairs.is_same.tolist(), strict=True
            )
        ]
        (unfinished / "pairs.txt").write_text("".join(lines))
    say(f"Written: {output}, {len(pairs):,} images and pairs.txt with {len(lines):,} pairs.")
