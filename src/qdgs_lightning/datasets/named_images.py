"""Images of any source with their names, for what is done to each of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.datasets.image_folder import FaceFolderDataset, open_face_dataset
from qdgs_lightning.datasets.verification_bin import read_bin_images


class _Images(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Any]: ...


class NamedImages(Dataset[tuple[Tensor, int]]):
    """Images in the order of their source; item i is ``(uint8 RGB [3, H, W], i)``.

    Args:
        images: Yields tuples that begin with an image.
        names: What each is called.
        identities: Whom each shows, -1 where it is not known.
    """

    def __init__(self, images: _Images, *, names: Sequence[str], identities: Sequence[int]) -> None:
        self.images = images
        self.names = list(names)
        self.identities = list(identities)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index][0], index


def open_named_images(
    path: str | Path, *, image_size: int = 112, one_size: bool = False
) -> NamedImages:
    """Open images for `qdgs predict`.

    Args:
        path: A training set, see `open_face_dataset`, or the ``.bin`` file of a benchmark.
        image_size: Side to which the images of a benchmark are brought.
        one_size: Whether images go into batches, so that one of another size than the others is
            named at once; see `FaceImages.check`.

    Returns:
        The images. Those of records are called by their keys, those of folders by their paths below
        the folder, and those of a benchmark by their places in the file: each is there as often as
        it stands in a pair, and images 2k and 2k + 1 are pair k.

    Raises:
        QDGSError: There is nothing of the kind, or it is damaged.

    Example:
        >>> image, place = open_named_images("lfw.bin")[0]
    """
    path = Path(path)
    if path.suffix == ".bin":
        images = read_bin_images(path, image_size=image_size)
        places = range(len(images))
        return NamedImages(images, names=[str(i) for i in places], identities=[-1 for _ in places])
    faces = open_face_dataset(path)
    if one_size:
        faces.check(prefer=image_size)
    if isinstance(faces, FaceFolderDataset):
        names = [os.path.relpath(file, faces.root) for file in faces.paths]
    else:
        names = [str(key) for key in faces.keys.tolist()]
    return NamedImages(faces, names=names, identities=faces.labels.tolist())
