"""All images below a folder, however its sub-folders are meant."""

import os
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.datasets.image_decoding import ImageDecodingError, decode_rgb
from qdgs_lightning.datasets.image_folder import IMAGE_SUFFIXES, FaceFolderError


class ImageTree(Dataset[tuple[Tensor, int]]):
    """Image files of a folder and of all folders below it, each with its place.

    Files and folders whose names begin with a dot are left out.

    Args:
        root: The folder.

    Attributes:
        names: Paths below the folder: its own images first, then folder by folder, by name.

    Raises:
        FaceFolderError: The folder cannot be read, or there is no image.

    Example:
        >>> tree = ImageTree("photos")
        >>> tree.names[0], tree[0][0].shape
        ('ann/001.jpg', torch.Size([3, 112, 112]))
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        found = []
        for folder, below, files in os.walk(self.root, followlinks=True, onerror=_refuse):
            below[:] = sorted(name for name in below if not name.startswith("."))
            place = os.path.relpath(folder, self.root)
            found += [
                os.path.normpath(os.path.join(place, name))
                for name in sorted(files)
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
            ]
        if not found:
            raise FaceFolderError(
                f"{self.root} has no image ({', '.join(IMAGE_SUFFIXES)}) in it nor in a folder "
                "below; name a folder of images."
            )
        self.names = found

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Decode one image, uint8 RGB ``[3, H, W]``.

        Raises:
            FaceFolderError: It cannot be read or decoded.
        """
        path = self.root / self.names[index]
        try:
            return decode_rgb(path.read_bytes()), index
        except (OSError, ImageDecodingError) as error:
            raise FaceFolderError(
                f"{path} is bad ({str(error).rstrip('.')}); mend it, or remove it."
            ) from error


def _refuse(error: OSError) -> None:
    """Turn a folder that cannot be listed into a sentence."""
    raise FaceFolderError(
        f"{error.filename} cannot be read ({error.strerror}); name a folder that can."
    ) from error
