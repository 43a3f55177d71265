"""Face images as files, in a folder for each identity."""

import os
import warnings
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from qdgs_lightning.datasets.face_images import FaceImages, OnBadRecord
from qdgs_lightning.datasets.folder_walk import visible, walk_files
from qdgs_lightning.datasets.image_decoding import ImageDecodingError, decode_rgb
from qdgs_lightning.datasets.records.dataset import RecordIODataset
from qdgs_lightning.errors import QDGSError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
"""What names of images end in, in any case; those that torchvision's ImageFolder takes."""

UNREAD_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jfif", ".tga", ".npy", ".raw")
"""Images that are not read; a set that has some is told how many are left out."""


class FaceFolderError(QDGSError):
    """A folder of identities that holds no images, or an image that cannot be read."""


class FaceFiles(NamedTuple):
    """What a folder of identities holds.

    Attributes:
        identities: Names of the folders within, sorted; the place of one is its label.
        paths: The images, those of one identity after those of another, sorted by name.
        labels: The identity of each.
        unread: How many files there are of each of `UNREAD_SUFFIXES`.
    """

    identities: list[str]
    paths: list[str]
    labels: list[int]
    unread: Counter[str]

    @property
    def empty(self) -> list[str]:
        """Identities that have no image."""
        full = set(self.labels)
        return [name for label, name in enumerate(self.identities) if label not in full]


def find_faces(root: Path) -> FaceFiles:
    """List a folder of identities as torchvision's ImageFolder does; deeper folders count too.

    Folders and files whose names begin with a dot are none; see `visible`.

    Raises:
        FaceFolderError: It cannot be read, or has no folder within.
    """
    try:
        os.listdir(root)  # raises where a pattern would match nothing
        identities = [entry.name for entry in visible(root) if entry.is_dir()]
    except OSError as error:
        raise FaceFolderError(
            f"{root} cannot be read ({error.strerror}); name a folder with one folder for each "
            "identity."
        ) from error
    if not identities:
        raise FaceFolderError(
            f"{root} has no folder within; images belong into one folder for each identity."
        )
    found = FaceFiles(identities, [], [], Counter())
    for label, name in enumerate(identities):
        for path in walk_files(root / name):
            suffix = os.path.splitext(path)[1].lower()
            if suffix in IMAGE_SUFFIXES:
                found.paths.append(path)
                found.labels.append(label)
            elif suffix in UNREAD_SUFFIXES:
                found.unread[suffix] += 1
    return found


def unread_images(files: FaceFiles) -> str:
    """Count images of formats that are not read, in words; an empty string if there are none."""
    return ", ".join(f"{count:,} {suffix}" for suffix, count in files.unread.most_common())


class ImageFiles(FaceImages):
    """Images that are files below a folder; `source` returns the path of each.

    Args:
        root: The folder.
        on_bad_record: What to do about an image that cannot be decoded, see `FaceImages`.
    """

    error = FaceFolderError

    def __init__(self, root: str | Path, *, on_bad_record: OnBadRecord) -> None:
        super().__init__(on_bad_record=on_bad_record)
        self.root = Path(root)

    def encoded(self, index: int) -> bytes:
        """Return the contents of an image file.

        Raises:
            FaceFolderError: It cannot be read.
        """
        try:
            return Path(self.source(index)).read_bytes()
        except OSError as error:
            raise FaceFolderError(
                f"{self.source(index)} cannot be read: {error.strerror}."
            ) from error

    def describe(self) -> str:
        """Name the folder."""
        return str(self.root)


class FaceFolderDataset(ImageFiles):
    """The images of a folder ``root/<identity>/<image>``, as of torchvision's ImageFolder.

    Args:
        root: The folder. Identities are numbered in the order of their names.
        on_bad_record: What to do about an image that cannot be decoded: ``raise``, or ``skip``,
            which takes the next good image in its place and warns,
            once in each process that loads.

    Attributes:
        identities: Names of the identities; the place of one is its label.
        num_classes: How many identities there are.
        paths: The image files.

    Raises:
        FaceFolderError: The folder cannot be read, or there is an identity without an image.

    Example:
        >>> image, label = FaceFolderDataset("faces")[0]
        >>> image.shape, image.dtype  # RGB
        (torch.Size([3, 112, 112]), torch.uint8)
    """

    def __init__(self, root: str | Path, *, on_bad_record: OnBadRecord = "raise") -> None:
        super().__init__(root, on_bad_record=on_bad_record)
        found = find_faces(self.root)
        self.identities, self.paths, self._labels, _ = found
        self.num_classes = len(self.identities)
        if found.empty:
            others = f", but {told} that are not read" if (told := unread_images(found)) else ""
            others += f", nor have {len(found.empty) - 1} more" if len(found.empty) > 1 else ""
            raise FaceFolderError(
                f"{self.root / found.empty[0]} has no image ({', '.join(IMAGE_SUFFIXES)}){others}; "
                "remove what is no identity."
            )
        if told := unread_images(found):
            warnings.warn(
                f"{self.root} has {told} files, which are not read; convert them to one of "
                f"{', '.join(IMAGE_SUFFIXES)}.",
                stacklevel=2,
            )

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def labels(self) -> Tensor:
        """The identity of every image, int64, shape ``[n]``."""
        return torch.tensor(self._labels)

    def source(self, index: int) -> str:
        """Say where an image is, for messages."""
        return self.paths[index]

    def load(self, row: int) -> tuple[Tensor, int]:
        """Decode one image.

        Raises:
            FaceFolderError: It cannot be read or decoded.
        """
        try:
            return decode_rgb(self.encoded(row)), self._labels[row]
        except ImageDecodingError as error:
            raise FaceFolderError(
                f"{self.paths[row]} is bad ({str(error).rstrip('.')}); remove it, or set "
                "on_bad_record to skip."
            ) from error


def find_records(folder: Path) -> Path | None:
    """Return the ``.rec`` file of a folder: ``train.rec``, or the only one, or None.

    Raises:
        FaceFolderError: There are several, and none is ``train.rec``.
    """
    records = visible(folder, "*.rec")
    train = folder / "train.rec"
    if train in records or not records:
        return train if records else None
    if len(records) > 1:
        names = ", ".join(file.name for file in records)
        raise FaceFolderError(f"{folder} holds {names}; name one of them.")
    return records[0]


def open_face_dataset(
    path: str | Path, *, on_bad_record: OnBadRecord = "raise"
) -> RecordIODataset | FaceFolderDataset:
    """Open face images for training, however they are kept.

    Args:
        path: A ``.rec`` file, a folder that holds one, or a folder of identities.
        on_bad_record: What to do about an image that cannot be used: ``raise``, or ``skip``.

    Returns:
        A dataset of ``(uint8 RGB [3, H, W], identity)``.

    Raises:
        RecordIOError: The ``.rec`` file or what belongs to it is damaged.
        FaceFolderError: There is nothing of the kind, or more than one ``.rec`` file.
    """
    path = Path(path)
    if path.suffix == ".rec":
        return RecordIODataset(path.parent, name=path.stem, on_bad_record=on_bad_record)
    if not path.is_dir():
        reason = "is a file" if path.exists() else "is not there"
        raise FaceFolderError(
            f"{path.absolute()} {reason}; name a .rec file, a folder that holds one, or a folder "
            "of identities."
        )
    if (records := find_records(path)) is not None:
        return RecordIODataset(path, name=records.stem, on_bad_record=on_bad_record)
    return FaceFolderDataset(path, on_bad_record=on_bad_record)
