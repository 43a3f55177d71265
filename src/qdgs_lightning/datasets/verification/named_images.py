"""Images of any source with their names, for what is done to each of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.datasets.face_images import FaceImages
from qdgs_lightning.datasets.image_folder import (
    FaceFolderDataset,
    find_records,
    open_face_dataset,
)
from qdgs_lightning.datasets.image_tree import ImageTree
from qdgs_lightning.datasets.verification.insightface_bin import read_bin_images


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
    path: str | Path, *, image_size: int = 112, one_size: bool = True
) -> NamedImages:
    """Open images for what is done to each of them.

    Args:
        path: A ``.rec`` file or a folder that holds one, a folder of images, with one folder for
            each identity or flat, or the ``.bin`` file of a benchmark.
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
    if path.is_dir() and find_records(path) is None:
        faces: FaceImages = (tree := ImageTree(path))
        names, labels = tree.names, tree.labels
    else:
        faces = records = open_face_dataset(path)
        assert not isinstance(records, FaceFolderDataset)  # which is the case above
        names, labels = [str(key) for key in records.keys.tolist()], records.labels
    if one_size:
        faces.check(prefer=image_size)
    return NamedImages(faces, names=names, identities=labels.tolist())
