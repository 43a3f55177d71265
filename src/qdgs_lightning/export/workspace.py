"""What an export was asked for, where it is written, and what it needs of the disk."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from qdgs_lightning.export.shards import ExportError
from qdgs_lightning.export.writer import ImageFormat
from qdgs_lightning.utils.atomic_files import write_json
from qdgs_lightning.utils.units import size

ExportFormat = Literal["folder", "rec", "webdataset"]
# What the disk says when there is no room; the last one where it takes no file of that length.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# GPUs draw the same image twice with a level of difference here and there.
_PROBE_TOLERANCE = 1.0


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How images are kept.

    Attributes:
        format: ``folder``, ``rec`` or ``webdataset``.
        image_format: ``jpg`` or ``png``.
        quality: Of JPEG files, 1 to 100.
        batch_size: Images that are drawn at a time.
        shard_size: Images to a tar file.
        licence: What the data card says.

    Raises:
        ExportError: A value is out of its range.
    """

    format: ExportFormat
    image_format: ImageFormat
    quality: int
    batch_size: int
    shard_size: int
    licence: str

    def __post_init__(self) -> None:
        for name, value, known in (
            ("format", self.format, get_args(ExportFormat)),
            ("image_format", self.image_format, get_args(ImageFormat)),
        ):
            if value not in known:
                raise ExportError(f"{name} is '{value}'; give one of {', '.join(known)}.")
        for name in ("batch_size", "shard_size"):
            if getattr(self, name) < 1:
                raise ExportError(
                    f"{name} is {getattr(self, name)}; give a whole number of at least 1."
                )
        if not 1 <= self.quality <= 100:
            raise ExportError(f"quality is {self.quality}; give a whole number from 1 to 100.")

    def settings(self) -> dict[str, object]:
        """Return what decides the bytes of the set, in JSON types."""
        return {
            "format": self.format,
            "image_format": self.image_format,
            "quality": self.quality if self.image_format == "jpg" else None,
            "batch_size": self.batch_size,
            "shard_size": self.shard_size if self.format == "webdataset" else None,
            "licence": self.licence,
        }

    def bytes_needed(self, *, file_size: float, images: int, pending: int) -> int:
        """Estimate what is still to be written: pieces, and then the set that they make.

        Args:
            file_size: Mean length of an image file.
            images: How many there are in all.
            pending: How many are still to be drawn.
        """
        match self.format:
            case "folder":  # disks give files whole blocks of 4 KiB
                kept = 4096.0 * math.ceil(file_size / 4096)
            case "rec":  # headers, and a line of the index
                kept = file_size + 64
            case "webdataset":  # three headers and two small files, in blocks of 512 bytes
                kept = 512.0 * (math.ceil(file_size / 512) + 5)
        return round(1.05 * (images * kept + pending * (file_size + 64)))


class ExportPlace:
    """The folder of a set, and beside it the one where it comes into being.

    Args:
        output: The folder of the set, which appears once it is whole.

    Attributes:
        output: The same, as an absolute path.
        work: ``<output>.unfinished``: pieces, settings, and the set as it is put together.
        pieces: For `ImagePieces`.
        candidates: For a datamodule that can keep its candidates in a file.
        made: The set, before it gets its place.

    Raises:
        ExportError: There is something else in its place.
    """

    def __init__(self, output: Path) -> None:
        self.output = output.resolve()
        self.work = self.output.with_name(f"{self.output.name}.unfinished")
        self.pieces = self.work / "pieces"
        self.candidates = self.work / "candidates.safetensors"
        self.made = self.work / "set"
        self._settings = self.work / "settings.json"
        taken = self.output.exists() and not (
            self.output.is_dir() and (self.finished or not any(self.output.iterdir()))
        )
        if taken:
            raise ExportError(
                f"{self.output} is there already and is no exported set; choose another output, or "
                "remove it."
            )
        if os.path.ismount(self.output):
            raise ExportError(f"{self.output} is a disk of its own; name a folder on it.")

    @property
    def finished(self) -> bool:
        """Whether the set is whole."""
        return (self.output / "card.json").is_file()

    def refuse_other(self, settings: dict[str, Any]) -> None:
        """Make sure that what was begun here, or is there, was asked for with the same settings.

        Args:
            settings: All of them, or some.

        Raises:
            ExportError: It was not; the sentence names the first that differs.
        """
        where = self.output if self.finished else self.work
        path = self.output / "card.json" if self.finished else self._settings
        if not path.is_file():
            return
        try:
            content = json.loads(path.read_text())
            before: dict[str, Any] = content["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError(f"{path} is damaged; remove {where} to begin anew.") from error
        for name, value in settings.items():
            if not _alike(name, before.get(name), value):
                other = {"identities": "other identities", "probe": "images drawn otherwise"}.get(
                    name, f"{name}={before.get(name)}, not {value}"
                )
                raise ExportError(
                    f"{where} was begun with {other}; give the same settings, give another output, "
                    f"or remove {where}."
                )

    def keep(self, settings: dict[str, Any]) -> None:
        """Note the settings of what is begun here."""
        write_json(self._settings, {"settings": settings})

    def check_space(self, needed: int) -> None:
        """Make sure that the disk has room.

        Raises:
            ExportError: It has not.
        """
        free = shutil.disk_usage(self.work).free
        if needed > free:
            raise ExportError(
                f"{self.output} needs about {size(needed)}, its unfinished pieces included, "
                f"and the disk has {size(free)}: free some, or choose another output."
            )

    @contextmanager
    def explaining_full_disk(self) -> Iterator[None]:
        """Say in one sentence that the disk is full.

        Raises:
            ExportError: It is.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise ExportError(
                f"The disk of {self.work} takes no more ({error.strerror}); nothing that was drawn "
                "is lost: free some space and start the same command again."
            ) from error


def _alike(name: str, before: Any, now: Any) -> bool:  # noqa: ANN401 (JSON types)
    """Whether a setting is the same."""
    if name != "probe" or not isinstance(before, list):
        return bool(before == now)
    flat = [(a, b) for rows in zip(before, now, strict=False) for a, b in zip(*rows, strict=False)]
    return len(before) == len(now) and all(abs(a - b) <= _PROBE_TOLERANCE for a, b in flat)
