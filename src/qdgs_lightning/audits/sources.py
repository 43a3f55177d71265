"""Where the images of an audit come from."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from qdgs_lightning.audits.units import AuditError, Unit, Units
from qdgs_lightning.datasets import NamedImages, open_named_images
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.sampling import Sampler
from qdgs_lightning.search import Archive
from qdgs_lightning.utils.seeding import seeded_generator


class Batches(Protocol):
    """Loads or draws the images of a source."""

    def __call__(self, size: int, start: int = 0) -> Iterator[Tensor]:
        """Yield images from the one at ``start`` on, in batches of at most ``size``."""
        ...


@dataclass(frozen=True, kw_only=True)
class AuditedImages:
    """The images of a source.

    Attributes:
        names: What each is called.
        units: What was drawn independently of each other: the images, or the people they show.
        weights: How often each counts, float64, shape ``[n]``.
        batches: Yields images in batches of at most so many, RGB in [0, 1], ``[b, 3, S, S]``, in
            the order of the names. From where a batch begins, the further ones are the same.
        archive: The archive that they are from, if any.
        digest: Differs where images differ that have the same names and are described alike.
    """

    names: list[str]
    units: Units
    weights: Tensor
    batches: Batches
    archive: Archive | None = None
    digest: str = ""

    def __len__(self) -> int:
        return len(self.names)


class Source(ABC):
    """A set of images to audit.

    Attributes:
        name: What tables and figures call it.
        labels: A table of its labels, which no annotator is needed for then; see `read_labels`.
    """

    name: str
    labels: Path | None = None

    @abstractmethod
    def open(self, device: torch.device) -> AuditedImages:
        """Find the images.

        Args:
            device: Where generators draw.

        Raises:
            QDGSError: There is nothing to audit.
        """

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Say in JSON types what the images are; reports carry it."""


class ImageSet(Source):
    """Images as files, in a folder or in folders of it, or RecordIO.

    What is not square is cropped at the centre. Images of one person tell less than as many of
    several: say what the unit is, on which the width of intervals depends.

    Args:
        path: A ``.rec`` file, a folder that holds one, a folder of images, or a ``.bin`` file.
        units: ``images`` if each counts by itself, ``folders`` if each folder (or identity of
            records) is one person, or a `UnitColumn`, the table and column that name the person
            of each image. None guesses where a guess does no harm, and says so.
        labels: A CSV file that says what the images show, for a set that needs no annotator.
        sample: How many images to draw from the set, evenly; None for all.
        seed: Draws them.
        name: What it is called; the name of the path if left out.

    Raises:
        AuditError: The sample is empty.
    """

    def __init__(
        self,
        path: Path,
        *,
        units: Unit | None = None,
        labels: Path | None = None,
        sample: int | None = None,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        if sample is not None and sample < 1:
            raise AuditError(f"The sample of {path} is {sample}: give at least 1, or leave it out.")
        self.path = path
        self.units = units
        self.labels = labels
        self.sample = sample
        self.seed = seed
        self.name = name or path.name

    def open(self, device: torch.device) -> AuditedImages:
        """Open the set; see `open_named_images` and `Units.find`."""
        images = open_named_images(self.path, one_size=False)
        rows = torch.arange(len(images))
        if self.sample is not None:
            random = seeded_generator(self.seed)
            rows = torch.randperm(len(images), generator=random)[: self.sample].sort().values
        names = [images.names[row] for row in rows.tolist()]
        identities = [images.identities[row] for row in rows.tolist()]
        units = Units.find(self.path, names, identities, unit=self.units)

        def batches(size: int, start: int = 0) -> Iterator[Tensor]:
            return _batches(images, rows[start:].tolist(), size)

        return AuditedImages(
            names=names,
            units=units,
            weights=torch.ones(len(rows), dtype=torch.float64),
            batches=batches,
        )

    def describe(self) -> dict[str, object]:
        """Name the set, and the draws of a sample."""
        drawn = {} if self.sample is None else {"sample": self.sample, "seed": self.seed}
        return {"class": type(self).__name__, "path": str(self.path), **drawn}


class PriorSamples(Source):
    """What a generator draws from its prior.

    Args:
        generator: Draws the images.
        n: How many.
        seed: Draws the latents.
        name: What they are called.

    Raises:
        AuditError: There are none.
    """

    def __init__(
        self, *, generator: Generator, n: int = 10_000, seed: int = 0, name: str = "prior"
    ) -> None:
        _check_number(n, name)
        self.generator = generator
        self.n = n
        self.seed = seed
        self.name = name

    def open(self, device: torch.device) -> AuditedImages:
        """Draw the latents."""
        self.generator.prepare()
        self.generator.to(device)
        latents = self.generator.sample_latents(self.n, seeded_generator(self.seed))
        return _drawn(self.generator, latents, torch.ones(self.n, dtype=torch.float64), device)

    def describe(self) -> dict[str, object]:
        """Name the generator and the draws."""
        made_by = self.generator.fingerprint()
        return {"class": type(self).__name__, "generator": made_by, "n": self.n, "seed": self.seed}


class Elites(Source):
    """The elites of an archive, each once, or as often as a sampler draws it.

    Args:
        archive: The archive file.
        generator: Draws the images; the archive must be its own.
        sampler: Draws the latents; None takes every elite once.
        guidance: Judges for the sampler, which needs one.
        n: How many latents the sampler draws.
        seed: Of the draws.
        name: What they are called.

    Raises:
        AuditError: A sampler has no guidance, or draws nothing.
    """

    def __init__(
        self,
        *,
        archive: Path,
        generator: Generator,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        n: int = 10_000,
        seed: int = 0,
        name: str = "archive",
    ) -> None:
        _check_number(n, name)
        if sampler is not None and guidance is None:
            raise AuditError(f"The sampler of '{name}' labels latents by `guidance`: set it.")
        self.archive = archive
        self.generator = generator
        self.sampler = sampler
        self.guidance = guidance
        self.n = n
        self.seed = seed
        self.name = name

    def open(self, device: torch.device) -> AuditedImages:
        """Load the archive, and draw from it if there is a sampler."""
        archive = Archive.load(self.archive)
        self.generator.prepare()
        made_by = self.generator.fingerprint()
        if len(archive) == 0 or archive.metadata.generator != made_by:
            raise AuditError(
                f"{self.archive} has {len(archive)} elites of {archive.metadata.generator}, and "
                f"the generator is {made_by}: bring an archive of its own that has some."
            )
        self.generator.to(device)
        latents = torch.as_tensor(archive.latents, dtype=torch.float32)
        counts = torch.ones(len(latents))
        if self.sampler is not None and self.guidance is not None:
            self.guidance.prepare()
            self.guidance.to(device)
            candidates = self.sampler.candidates(
                self.generator, self.guidance, random=seeded_generator(self.seed), archive=archive
            )
            pool = self.sampler.draw(candidates, self.n, random=seeded_generator(self.seed, 1))
            # A latent that is drawn several times is still one draw of the search.
            latents, counts = torch.unique(pool.latents, dim=0, return_counts=True)
        return _drawn(self.generator, latents, counts.double(), device, archive)

    def describe(self) -> dict[str, object]:
        """Name the archive and how it is drawn from."""
        drawn: dict[str, object] = {}
        if self.sampler is not None:
            drawn = {"sampler": self.sampler.describe_all(), "n": self.n, "seed": self.seed}
        made_by = self.generator.fingerprint()
        name = type(self).__name__
        return {"class": name, "archive": str(self.archive), "generator": made_by, **drawn}


def _check_number(n: int, name: str) -> None:
    """Refuse to draw nothing."""
    if n < 1:
        raise AuditError(f"The number of images n of '{name}' is {n}: give at least 1.")


def _drawn(
    generator: Generator,
    latents: Tensor,
    weights: Tensor,
    device: torch.device,
    archive: Archive | None = None,
) -> AuditedImages:
    """Images that a generator draws from latents, each its own unit."""

    def batches(size: int, start: int = 0) -> Iterator[Tensor]:
        with torch.no_grad():
            for first in range(start, len(latents), size):
                yield generator(latents[first : first + size].to(device))

    names = [str(row) for row in range(len(latents))]
    units = Units.single(len(latents))
    digest = hashlib.sha256(latents.cpu().contiguous().numpy().tobytes()).hexdigest()
    return AuditedImages(
        names=names, units=units, weights=weights, batches=batches, archive=archive, digest=digest
    )


def _batches(images: NamedImages, rows: list[int], size: int) -> Iterator[Tensor]:
    """Load images in batches of one size each, so that sets of many sizes can be audited."""
    batch: list[Tensor] = []
    for row in rows:
        image = images[row][0]
        image = V.center_crop(image, [min(image.shape[-2:])] * 2)
        if batch and (len(batch) == size or batch[0].shape != image.shape):
            yield torch.stack(batch).float() / 255
            batch = []
        batch.append(image)
    if batch:
        yield torch.stack(batch).float() / 255
