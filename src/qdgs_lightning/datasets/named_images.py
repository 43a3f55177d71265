"""Images of any source with their names, for what is done to each of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.datasets.image_folder import (
    FaceFolderDataset,
    find_records,
    open_face_dataset,
)
from qdgs_lightning.datasets.image_tree import ImageTree
from qdgs_lightning.datasets.verification import load_verification_pairs


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


def open_named_images(path: str | Path, *, image_size: int = 112) -> NamedImages:
    """Open images for `qdgs predict`.

    Args:
        path: A ``.rec`` file or a folder that holds one, a folder of images, with one folder for
            each identity or flat, or the ``.bin`` file of a benchmark.
        image_size: Side to which the images of a benchmark are brought.

    Returns:
        The images. Those of records are called by their keys, those of folders by their paths below
        the folder, and those of a benchmark by their places.

    Raises:
        QDGSError: There is nothing of the kind, or it is damaged.

    Example:
        >>> image, place = open_named_images("lfw.bin")[0]
    """
    path = Path(path)
    if path.suffix == ".bin":
        pairs = load_verification_pairs(path, image_size=image_size)
        places = range(len(pairs))
        return NamedImages(pairs, names=[str(i) for i in places], identities=[-1 for _ in places])
    if path.is_dir() and find_records(path) is None:
        tree = ImageTree(path)
        folders = [Path(name).parts[0] if Path(name).parts[1:] else "" for name in tree.names]
        numbers = {name: number for number, name in enumerate(sorted({*folders} - {""}))}
        identities = [numbers.get(folder, -1) for folder in folders]
        return NamedImages(tree, names=tree.names, identities=identities)
    faces = open_face_dataset(path)
    assert not isinstance(faces, FaceFolderDataset)  # which is the case above
    names = [str(key) for key in faces.keys.tolist()]
    return NamedImages(faces, names=names, identities=faces.labels.tolist())
