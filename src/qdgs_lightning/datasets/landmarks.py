"""Five landmarks of each face in a table of any detector, and faces aligned by them."""

import csv
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.datasets.alignment import AlignmentError, align_face
from qdgs_lightning.datasets.image_folder import FaceFolderDataset

_COLUMNS = "image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5"


def read_landmarks(path: Path) -> dict[str, Tensor]:
    """Read a CSV file with a line for each image: its path and ten coordinates.

    Points are left eye, right eye, nose, left and right corner of the mouth, as seen in the image,
    in pixels from the centre of the first pixel; see `align_face`. A first line of column names is
    passed over.

    Args:
        path: The file.

    Returns:
        For each path, with slashes and as the file has it, the points, float64 ``[5, 2]``.

    Raises:
        AlignmentError: It cannot be read, a line has something else, or a path stands there twice.

    Example:
        >>> read_landmarks(Path("landmarks.csv"))["ann/0.jpg"].shape
        torch.Size([5, 2])
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AlignmentError(f"{path} cannot be read as a table of landmarks: {error}.") from error
    found: dict[str, Tensor] = {}
    for number, words in enumerate(csv.reader(lines), start=1):
        if not words or (number == 1 and words[1:2] == ["x1"]):
            continue
        try:
            points = torch.tensor([float(word) for word in words[1:]], dtype=torch.float64)
            points = points.view(5, 2)
        except (ValueError, RuntimeError) as error:
            raise AlignmentError(
                f"Line {number} of {path} is not a path and ten coordinates ({_COLUMNS}); mend it."
            ) from error
        name = words[0].strip().replace("\\", "/").removeprefix("./")
        if name in found:
            raise AlignmentError(f"Line {number} of {path} names {name} again; remove one.")
        found[name] = points
    if not found:
        raise AlignmentError(f"{path} has no landmarks; write lines of {_COLUMNS}.")
    return found


class AlignedFaces(Dataset[tuple[Tensor, int]]):
    """The images of a folder of identities, aligned to the template of ArcFace as they are read.

    Args:
        faces: The folder.
        landmarks: Of each image by its path below the folder; see `read_landmarks`.
        size: Side of the aligned images.

    Attributes:
        labels: The identity of every image, int64, shape ``[n]``.

    Raises:
        AlignmentError: Images have no landmarks.

    Example:
        >>> faces = AlignedFaces(FaceFolderDataset("photos"), read_landmarks(Path("landmarks.csv")))
        >>> faces[0][0].shape
        torch.Size([3, 112, 112])
    """

    def __init__(
        self, faces: FaceFolderDataset, landmarks: Mapping[str, Tensor], *, size: int = 112
    ) -> None:
        self._faces, self._size = faces, size
        names = [Path(path).relative_to(faces.root).as_posix() for path in faces.paths]
        absent = [name for name in names if name not in landmarks]
        if absent:
            raise AlignmentError(
                f"{len(absent)} of {len(names)} images of {faces.root} have no landmarks, such as "
                f"{absent[0]}; add these, or remove the images in which no face was found."
            )
        self._points = [landmarks[name] for name in names]
        self.labels = faces.labels

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an aligned image, uint8 RGB ``[3, size, size]``, and its identity.

        Raises:
            FaceFolderError: It cannot be decoded.
            AlignmentError: Its landmarks fix no warp.
        """
        image, label = self._faces[index]
        try:
            return align_face(image, self._points[index], size=self._size), label
        except AlignmentError as error:
            raise AlignmentError(f"{self._faces.source(index)}: {error}") from error
