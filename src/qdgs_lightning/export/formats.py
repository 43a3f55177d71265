"""Image files of identities, written the ways that other code bases read."""

import json
import tarfile
from collections.abc import Iterable
from io import BytesIO
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from qdgs_lightning.datasets.records.writer import write_record_dataset


class ImageFile(NamedTuple):
    """One image of an identity, as it goes into a dataset.

    Attributes:
        identity: Number of the identity; there may be gaps.
        folder: Its name, such as ``00012``.
        stem: Name of the image within the identity, such as ``003``.
        data: Contents of the JPEG or PNG file.
        facts: What else is known of the image, in JSON types.
    """

    identity: int
    folder: str
    stem: str
    data: bytes
    facts: dict[str, object]


def write_image_folder(root: Path, images: Iterable[ImageFile], *, suffix: str) -> None:
    """Write ``root/<identity>/<image>.<suffix>``, which `FaceFolderDataset` and ImageFolder read.

    Args:
        root: The folder; made if need be.
        images: In any order.
        suffix: ``jpg`` or ``png``.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    made: set[str] = set()
    for image in images:
        folder = root / image.folder
        if image.folder not in made:
            folder.mkdir(parents=True, exist_ok=True)
            made.add(image.folder)
        (folder / f"{image.stem}.{suffix}").write_bytes(image.data)


def write_records(root: Path, images: Iterable[ImageFile], *, height: int, width: int) -> None:
    """Write ``train.rec``, ``train.idx`` and ``property``; see `write_record_dataset`.

    Args:
        root: The folder; made if need be.
        images: Those of one identity after those of another, in ascending order. Labels count
            identities from 0 on, without gaps, as insightface's tools expect.
        height: Of the images in pixels.
        width: Of the images in pixels.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    groups = groupby(images, key=lambda image: image.identity)
    identities = ((image.data for image in group) for _, group in groups)
    write_record_dataset(root, identities, height=height, width=width)


def write_webdataset(
    root: Path, images: Iterable[ImageFile], *, suffix: str, shard_size: int
) -> None:
    """Write tar files ``000000.tar``, ``000001.tar`` ... as the package webdataset reads them.

    An image is three members of one key, ``<identity>_<image>``: the image, ``.cls`` with the
    number of its identity, and ``.json`` with its facts. Members are those of POSIX (ustar) with
    nothing in them that changes from run to run, so that equal images make equal files.

    Args:
        root: The folder; made if need be.
        images: In the order that readers are to find them in, which should be a mixed one.
        suffix: ``jpg`` or ``png``.
        shard_size: Images to a tar file.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    root.mkdir(parents=True, exist_ok=True)
    remaining, shard = iter(images), 0
    while group := list(islice(remaining, shard_size)):
        path = root / f"{shard:06d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
            for image in group:
                key = f"{image.folder}_{image.stem}"
                _add(file, f"{key}.{suffix}", image.data)
                _add(file, f"{key}.cls", str(image.identity).encode())
                _add(file, f"{key}.json", json.dumps(image.facts).encode())
        shard += 1


def _add(file: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a member; TarInfo's defaults are owner 0, time 0 and mode 644."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.addfile(member, BytesIO(data))
