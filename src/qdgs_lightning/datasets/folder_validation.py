"""Find everything that is wrong with a folder of identities or a set of pairs."""

from pathlib import Path

from qdgs_lightning.datasets.image_folder import (
    FaceFiles,
    FaceFolderError,
    find_faces,
    unread_images,
)
from qdgs_lightning.datasets.validation import Findings, ImageChecks


class FileChecks(ImageChecks):
    """The images of a folder of identities.

    Args:
        files: What the folder holds.
    """

    def __init__(self, files: FaceFiles) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files.paths)

    def load(self, row: int) -> tuple[bytes, int]:
        """Return the contents of a file and its label.

        Raises:
            FaceFolderError: It cannot be read.
        """
        try:
            return Path(self.files.paths[row]).read_bytes(), self.files.labels[row]
        except OSError as error:
            raise FaceFolderError(f"it cannot be read: {error.strerror}") from error

    def name(self, row: int) -> str:
        """Name the file."""
        return self.files.paths[row]


def check_folder(path: Path, findings: Findings, *, workers: int | None) -> None:
    """Look for damage in a folder of identities.

    Args:
        path: The folder.
        findings: Gets what is found.
        workers: How many processes decode; chosen by the number of images where None.

    Raises:
        FaceFolderError: It cannot be read, or has no folder within.
    """
    files = find_faces(path)
    findings.identities = len(files.identities)
    if told := unread_images(files):
        findings.notes.append(f"{path} has {told} files, which are not read.")
    findings.problems += [f"{path / name} has no image." for name in files.empty]
    for _ in findings.check(FileChecks(files), workers=workers):
        pass
    findings.compare_sizes(path)
