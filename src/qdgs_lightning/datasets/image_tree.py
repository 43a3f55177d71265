"""All images below a folder, however its sub-folders are meant."""

import os
from pathlib import Path

import torch
from torch import Tensor

from qdgs_lightning.datasets.folder_walk import walk_files
from qdgs_lightning.datasets.image_decoding import ImageDecodingError, decode_rgb
from qdgs_lightning.datasets.image_folder import (
    IMAGE_SUFFIXES,
    FaceFolderError,
    ImageFiles,
)


class ImageTree(ImageFiles):
    """Image files of a folder and of all folders below it.

    Files and folders whose names begin with a dot are left out.

    Args:
        root: The folder.

    Attributes:
        names: Paths below the folder, by folder and then by name.
        labels: The place among its folders of the one that an image lies in, -1 for images that lie
            in none, int64, shape ``[n]``.

    Raises:
        FaceFolderError: There is no image.

    Example:
        >>> tree = ImageTree("photos")
        >>> tree.names[0], tree[0][0].shape
        ('ann/001.jpg', torch.Size([3, 112, 112]))
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, on_bad_record="raise")
        self.names = [
            os.path.relpath(path, self.root)
            for path in walk_files(self.root)
            if path.lower().endswith(IMAGE_SUFFIXES)
        ]
        if not self.names:
            raise FaceFolderError(
                f"{self.root} has no image ({', '.join(IMAGE_SUFFIXES)}) in it nor in a folder "
                "below; name a folder of images."
            )
        folders = [parts[0] if len(parts := Path(name).parts) > 1 else "" for name in self.names]
        numbers = {name: number for number, name in enumerate(sorted({*folders} - {""}))}
        self.num_classes = len(numbers)
        self.labels = torch.tensor([numbers.get(folder, -1) for folder in folders])

    def __len__(self) -> int:
        return len(self.names)

    def source(self, index: int) -> str:
        """Say where an image is, for messages."""
        return str(self.root / self.names[index])

    def load(self, row: int) -> tuple[Tensor, int]:
        """Decode one image.

        Raises:
            FaceFolderError: It cannot be read or decoded.
        """
        try:
            return decode_rgb(self.encoded(row)), int(self.labels[row])
        except ImageDecodingError as error:
            raise FaceFolderError(
                f"{self.source(row)} is bad ({str(error).rstrip('.')}); mend it, or remove it."
            ) from error
