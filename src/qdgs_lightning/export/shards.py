"""Image files on their way into a dataset, in small pieces, so that work can stop and go on."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from qdgs_lightning.datasets.records.file import Record, RecordFile, RecordIOError, write_record
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.atomic_files import replacing


class ExportError(QDGSError):
    """A dataset that cannot be written as it was asked for."""


class ImagePieces:
    """Image files in numbered pieces of equal length, each of which is whole or not there.

    A piece is a RecordIO file (see `Record`); processes may write different ones at once.

    Args:
        folder: Where they are; made when the first is written.
        total: How many image files there are to be.
        piece_size: Image files to a piece; the last one may have fewer.

    Example:
        >>> pieces = ImagePieces(Path("pieces"), total=5, piece_size=3)
        >>> [list(pieces.positions(piece)) for piece in pieces.pending()]
        [[0, 1, 2], [3, 4]]
    """

    def __init__(self, folder: Path, *, total: int, piece_size: int) -> None:
        self.folder = folder
        self.total = total
        self.piece_size = piece_size

    def __len__(self) -> int:
        """Say of how many pieces all image files make."""
        return -(-self.total // self.piece_size)

    def positions(self, piece: int) -> range:
        """Return the places that the image files of a piece have among all."""
        first = piece * self.piece_size
        return range(first, min(first + self.piece_size, self.total))

    def pending(self) -> list[int]:
        """List the pieces that are not there yet, in ascending order."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return [piece for piece in range(len(self)) if self._path(piece).name not in there]

    def check_all_there(self) -> None:
        """Make sure that every process has written where this one reads.

        Raises:
            ExportError: Pieces are missing.
        """
        missing = self.pending()
        if missing:
            raise ExportError(
                f"{self.folder} lacks {len(missing)} of {len(self)} pieces that other processes "
                "have drawn: give an output that all of them see, such as on a shared disk."
            )

    def write(self, piece: int, files: Sequence[bytes]) -> None:
        """Write a piece, whole or not at all.

        Args:
            piece: Its number.
            files: The contents of its image files.

        Raises:
            ExportError: There are more or fewer of them than belong to it.
            OSError: The folder cannot be written, or the disk is full.
        """
        positions = self.positions(piece)
        if len(files) != len(positions):
            raise ExportError(
                f"Piece {piece} has {len(positions)} images and {len(files)} came; hand in what "
                "was asked for."
            )
        with replacing(self._path(piece)) as unfinished, unfinished.open("wb") as file:
            for position, data in zip(positions, files, strict=True):
                write_record(file, Record(labels=(0.0,), payload=data, key=position).to_bytes())

    def read(self, piece: int) -> list[bytes]:
        """Return the contents of the image files of a piece.

        Raises:
            ExportError: It is not there, or damaged and removed: it has to be written once more.
        """
        path = self._path(piece)
        try:
            file = RecordFile(path)
            records = [Record.from_bytes(file.read(offset)) for offset in file.scan()]
        except RecordIOError:
            records = []
        if [record.key for record in records] != list(self.positions(piece)):
            path.unlink(missing_ok=True)
            raise ExportError(
                f"{path} was damaged and is removed: start the same command again, which draws its "
                "images once more."
            )
        return [record.payload for record in records]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the contents of all image files in order.

        Raises:
            ExportError: As of `read`.
        """
        for piece in range(len(self)):
            yield from self.read(piece)

    def _path(self, piece: int) -> Path:
        """Say where a piece is."""
        return self.folder / f"{piece:08d}.rec"
