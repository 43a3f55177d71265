"""``qdgs data pack``; its imports wait for the call, so that help is quick."""

from pathlib import Path
from typing import Literal


def data_pack(
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
    """Make a training set in a .rec file, or a benchmark in a .bin file, out of images.

    A training set is train.rec, train.idx and property as insightface's tools write them. A
    benchmark holds the images of pairs one after the other. Image files are copied byte by byte
    unless a size is given. An interruption leaves what was there before.

    Args:
        source: A folder with one folder for each identity, a .rec file or the folder of one, or,
            for a .bin file, a folder with pairs.txt.
        output: The folder for train.rec, or the .bin file.
        format: What to make: rec, bin, or auto, which makes a .bin file if the output's name ends
            in .bin.
        pairs: For a .bin file: a list of pairs, or how many to draw from the identities in ten
            folds, half of them of the same identity; a multiple of 20, such as 6000.
        seed: Of the pairs that are drawn.
        size: Side in pixels: the shorter side of each image is brought to it and the middle of the
            longer one is kept, in a new JPEG file.
        align: A CSV file with five landmarks for each image of a folder of identities (image, x1,
            y1, ..., x5, y5: eyes, nose, corners of the mouth): each face is warped to the template
            of ArcFace at 112 pixels, or at the size that is given, in a new JPEG file.
        quality: Of new JPEG files, 1 to 100.
        force: Replace the output if it is there already.

    Raises:
        DataError: An option is out of its range, or the output is there already.
        QDGSError: The source is damaged; the sentence names the image.
    """
    from qdgs_lightning.datasets.pack import pack_set

    pack_set(
        source=source,
        output=output,
        format=format,
        pairs=pairs,
        seed=seed,
        size=size,
        align=align,
        quality=quality,
        force=force,
    )
