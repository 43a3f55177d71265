"""Decode every image of a set, in several processes."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from torch.utils.data import DataLoader, Dataset

from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.datasets.image_header import ImageHeader, image_header
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.console import counting, workers_for

_BATCH = 64


class ImageCheck(NamedTuple):
    """What came of an image.

    Attributes:
        row: Which one it is.
        problem: What is wrong with it; nothing if it is whole.
        header: What its file says, where that can be read.
        label: Of the identity; -1 where there is none.
    """

    row: int
    problem: str
    header: ImageHeader | None
    label: int


class ImageChecks(ABC, Dataset[ImageCheck]):
    """Images to be decoded; objects go to other processes."""

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def load(self, row: int) -> tuple[bytes, int]:
        """Return the file of an image, and its label.

        Raises:
            QDGSError: It cannot be read.
        """

    @abstractmethod
    def name(self, row: int) -> str:
        """Say which image it is, as the beginning of a sentence."""

    def __getitem__(self, row: int) -> ImageCheck:
        """Decode an image."""
        header, label = None, -1
        try:
            data, label = self.load(row)
            if not data:
                return ImageCheck(row, "it holds no image", None, label)
            header = image_header(data)
            decode_rgb(data)
        except QDGSError as error:
            return ImageCheck(row, str(error).rstrip("."), header, label)
        return ImageCheck(row, "", header, label)


@dataclass
class Findings:
    """What came of a set.

    Attributes:
        images: How many there are.
        identities: How many there are; None where the set has none.
        checked: How many images were looked at, fewer than there are after an interruption.
        problems: What is wrong, a sentence each.
        formats: How many images there are of each format, colours and size.
        notes: What is worth knowing, a sentence each.
        sizes: Whole images of each width and height: how many, and the first.
    """

    images: int = 0
    identities: int | None = None
    checked: int = 0
    problems: list[str] = field(default_factory=list)
    formats: Counter[tuple[str, str, int, int]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    sizes: dict[tuple[int, int], tuple[int, str]] = field(default_factory=dict)

    def check(
        self,
        images: ImageChecks,
        *,
        workers: int | None,
        also: Callable[[ImageCheck], str] = lambda check: "",
    ) -> Iterator[ImageCheck]:
        """Decode all images and note what is wrong with them.

        Args:
            images: The images.
            workers: How many processes decode; with 0 this one does. Where None, as many as there
                are cores, or fewer if there is little to do.
            also: Says what else is wrong with an image that can be decoded.

        Yields:
            What came of each image.
        """
        self.images = len(images)
        loader = DataLoader(
            images,
            batch_size=_BATCH,
            num_workers=workers_for(workers, len(images)),
            collate_fn=_as_they_are,
        )
        batches = iter(loader)  # starts the processes, before there are threads that paint a bar
        with counting("Decoding", len(images)) as advance:
            for batch in batches:
                for check in cast(list[ImageCheck], batch):
                    self.checked += 1
                    if problem := check.problem or also(check):
                        self.problems.append(f"{images.name(check.row)} is bad ({problem}).")
                    elif header := check.header:
                        size = header.width, header.height
                        count, first = self.sizes.get(size, (0, images.name(check.row)))
                        self.sizes[size] = count + 1, first
                    if header := check.header:
                        self.formats[
                            header.format, header.colours, header.width, header.height
                        ] += 1
                    advance()
                    yield check

    def compare_sizes(self, path: Path) -> None:
        """Note it where whole images differ in size, as those of a batch must not.

        Args:
            path: Of the set, for the advice.
        """
        if len(self.sizes) < 2:
            return
        width, height = max(self.sizes, key=lambda size: self.sizes[size][0])
        most, _ = self.sizes.pop((width, height))
        (other, (_, first)) = next(iter(self.sizes.items()))
        different = sum(count for count, _ in self.sizes.values())
        self.problems.append(
            f"{first} has {other[0]} x {other[1]} pixels, one of {different:,} images that differ "
            f"in size from {most:,} of {width} x {height}; bring all to one size before training: "
            f"qdgs data pack --source {path} --output NEW --size {min(width, height)}."
        )


def _as_they_are(batch: list[ImageCheck]) -> list[ImageCheck]:
    """Leave a batch as a list."""
    return batch
