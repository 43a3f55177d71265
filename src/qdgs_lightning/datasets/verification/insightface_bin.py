"""Verification sets as ``.bin`` files, the way insightface hands them round: lfw.bin and others.

Such a file is a pickle of two lists: encoded images, two for each pair, and whether each pair is of
one person. Since a pickle from a download can hold any program, it is read as data: nothing of it
is imported or executed. Images are ``bytes``, bytearrays, strings of Python 2, or numpy arrays of
bytes (what ``cv2.imencode`` returns) that were pickled by numpy 1 or 2 with any protocol from 0 to
5; see `verification_tree` for the forms of both lists.
"""

import pickle
from collections.abc import Iterable
from hashlib import blake2b
from mmap import ACCESS_READ, mmap
from pathlib import Path

import torch
from torch import Tensor

from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.datasets.verification.bin_tree import Payload, bytes_of, images_and_labels
from qdgs_lightning.datasets.verification.folds import dealt_out
from qdgs_lightning.datasets.verification.pairs import (
    VerificationDataError,
    VerificationPairs,
    unique_pairs,
)
from qdgs_lightning.formats.inert_pickle.machine import Budget, PickleError, load
from qdgs_lightning.formats.inert_pickle.numpy import (
    ARRAY_CALLS,
    ARRAY_NAMES,
    BYTE_ARRAY_CALLS,
    SCALAR_CALLS,
)
from qdgs_lightning.utils.atomic_files import replacing

_CALLS = {**SCALAR_CALLS, **ARRAY_CALLS, **BYTE_ARRAY_CALLS}
# An array takes 30; so a hundred thousand of them, where the largest known set has 14,000.
_MAX_OPCODES = 3_000_000
_PROTOCOL = 4  # every Python 3 in use reads it


class BinImages:
    """Encoded images within a ``.bin`` file, which each process maps into memory for itself.

    Args:
        path: The file.
        data: The same, mapped by this process.
        payloads: Where each image is in it, or its bytes where they are encoded once more.
        places: What number each has in the file, for messages.
    """

    def __init__(
        self, path: Path, data: mmap, *, payloads: list[Payload], places: list[int]
    ) -> None:
        self._path = path
        self._payloads = payloads
        self._places = places
        self._data: mmap | None = data

    def __getstate__(self) -> dict[str, object]:
        """Leave the mapping to the process that it belongs to."""
        return {**self.__dict__, "_data": None}

    def __len__(self) -> int:
        return len(self._payloads)

    def load(self, index: int) -> Tensor:
        """Return an image, uint8 RGB ``[3, H, W]``."""
        return decode_rgb(self.encoded(index))

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image."""
        if self._data is None:
            self._data = _mapped(self._path)
        return bytes_of(self._data, self._payloads[index])

    def describe(self, index: int) -> str:
        """Say which image of the file it is."""
        return f"number {self._places[index]} in {self._path}"


def read_verification_bin(
    path: str | Path, *, name: str | None = None, image_size: int = 112
) -> VerificationPairs:
    """Read a ``.bin`` file; nothing in it is executed, and images stay in the file.

    Pairs keep the order of the file, but for one that has all pairs of one kind first; see
    `verification_folds`.

    Args:
        path: The file.
        name: Of the set; None takes the file's.
        image_size: Side of the images.

    Raises:
        VerificationDataError: It cannot be read, is damaged, asks for more than data, or is no such
            file.
    """
    path = Path(path)
    data, payloads, labels = _read(path)
    # An image that stands in several pairs was encoded as often, to the same bytes.
    digests: dict[Payload, bytes] = {}
    for payload in payloads:
        if payload not in digests:
            digests[payload] = blake2b(bytes_of(data, payload), digest_size=16).digest()
    first, pairs = unique_pairs([digests[payload] for payload in payloads])
    order = dealt_out(labels)
    return VerificationPairs(
        name or path.stem,
        BinImages(path, data, payloads=[payloads[place] for place in first], places=first),
        pairs=pairs[order],
        is_same=torch.tensor(labels)[order],
        image_size=image_size,
    )


def read_bin_images(path: str | Path, *, image_size: int = 112) -> VerificationPairs:
    """Read a ``.bin`` file with all its images in its own order, repeated ones too.

    Images 2k and 2k + 1 are pair k of the file, as for insightface's tools.

    Args:
        path: The file.
        image_size: Side of the images.

    Raises:
        VerificationDataError: As of `read_verification_bin`.
    """
    path = Path(path)
    data, payloads, labels = _read(path)
    places = list(range(len(payloads)))
    return VerificationPairs(
        path.stem,
        BinImages(path, data, payloads=payloads, places=places),
        pairs=torch.tensor(places).view(-1, 2),
        is_same=torch.tensor(labels),
        image_size=image_size,
    )


def write_verification_bin(
    path: str | Path, images: Iterable[bytes], is_same: Iterable[bool] | Tensor
) -> None:
    """Write a ``.bin`` file for insightface, AdaFace and others, and for `read_verification_bin`.

    Args:
        path: The file to be made or replaced.
        images: Encoded images (JPEG or PNG), two for each pair, one after the other.
        is_same: Whether each pair is of one person.

    Raises:
        VerificationDataError: There is no pair, an image is empty, or there are not twice as many
            images as labels.
    """
    payloads, labels = [bytes(image) for image in images], [bool(same) for same in is_same]
    if not labels or len(payloads) != 2 * len(labels):
        raise VerificationDataError(
            f"{len(payloads)} images and {len(labels)} labels make no pairs; give two images for "
            "each label."
        )
    if b"" in payloads:
        raise VerificationDataError(
            f"Image {payloads.index(b'')} has no bytes; give encoded images."
        )
    with replacing(Path(path)) as unfinished, unfinished.open("wb") as file:
        pickle.dump((payloads, labels), file, protocol=_PROTOCOL)


def _read(path: Path) -> tuple[mmap, list[Payload], list[bool]]:
    """Return the file, its images and its labels, all in the order of the file.

    Raises:
        VerificationDataError: As of `read_verification_bin`.
    """
    data = _mapped(path)
    try:
        budget = Budget(len(data), max_opcodes=_MAX_OPCODES, kind="verification set")
        tree = load(data, budget=budget, calls=_CALLS, names=ARRAY_NAMES, spans=True)
        return data, *images_and_labels(data, tree)
    except PickleError as error:
        raise VerificationDataError(
            f"{path} is no verification set that can be read: {error}; bring another copy."
        ) from error


def _mapped(path: Path) -> mmap:
    """Map a file into memory."""
    try:
        with path.open("rb") as file:
            return mmap(file.fileno(), 0, access=ACCESS_READ)
    except (OSError, ValueError) as error:
        raise VerificationDataError(f"{path} cannot be read: {error}.") from error
