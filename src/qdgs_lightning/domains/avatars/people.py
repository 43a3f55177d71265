"""Identities of avatars with several images each: what a face data set holds."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.domains.avatars.dataset import (
    ATTRIBUTES,
    IDENTITY,
    NORMALS,
    Population,
    attribute_labels,
)
from qdgs_lightning.domains.avatars.renderer import VIEW, render_avatars
from qdgs_lightning.errors import QDGSError, did_you_mean

_CHUNK = 256
_DRAWN_AT_ONCE = 4096


class AvatarPeople(Dataset[tuple[Tensor, int]]):
    """People of a population, several images of each: the same face, seen otherwise.

    Item i is ``(image, identity)``, uint8 RGB ``[3, S, S]`` and an index from 0; images of an
    identity come one after the other.

    Args:
        population: Who is drawn.
        identities: How many people.
        images_per_identity: Images of each.
        seed: Names the set: equal arguments give equal images.
        only: Class that all are of, by attribute, such as ``{"skin": "dark"}``; others are passed
            over.
        image_size: Side of the images in pixels.

    Attributes:
        people: Standard normal numbers that each identity is, shape ``[identities, IDENTITY]``.
        attributes: Class of each identity along `ATTRIBUTES`, int64, shape ``[identities, 4]``.
        labels: Identity of each image, int64.

    Raises:
        QDGSError: A number is not positive, or there is no such class.

    Example:
        >>> people = AvatarPeople(Population(), identities=100, images_per_identity=8, seed=0)
        >>> image, identity = people[17]
        >>> image.shape, identity
        (torch.Size([3, 64, 64]), 2)
    """

    def __init__(
        self,
        population: Population,
        *,
        identities: int,
        images_per_identity: int,
        seed: int,
        only: dict[str, str] | None = None,
        image_size: int = 64,
    ) -> None:
        for name, value in (
            ("identities", identities),
            ("images_per_identity", images_per_identity),
        ):
            if value < 1:
                raise QDGSError(f"{name} is {value}; give a whole number of at least 1.")
        self.image_size = image_size
        random = torch.Generator().manual_seed(seed)
        self.people = _people(population, identities, only or {}, random)
        self.attributes = attribute_labels(population.avatars(_seen(self.people, random)))
        self.labels = torch.arange(identities).repeat_interleave(images_per_identity)
        self.images = torch.empty(len(self.labels), 3, image_size, image_size, dtype=torch.uint8)
        for rows in torch.split(torch.arange(len(self.labels)), _CHUNK):
            avatars = population.avatars(_seen(self.people[self.labels[rows]], random))
            images = render_avatars(avatars, image_size)
            self.images[rows] = images.mul_(255).round_().to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image and its identity."""
        return self.images[index], int(self.labels[index])


def _people(
    population: Population, n: int, only: dict[str, str], random: torch.Generator
) -> Tensor:
    """Draw the numbers of n identities that are all of some classes, ``[n, IDENTITY]``."""
    wanted = []
    for attribute, cls in only.items():
        for value, known in ((attribute, list(ATTRIBUTES)), (cls, ATTRIBUTES.get(attribute, ()))):
            if value not in known:
                raise QDGSError(
                    f"Avatars have no '{value}'{did_you_mean(value, known)}; give one of "
                    f"{', '.join(known)}."
                )
        wanted.append((list(ATTRIBUTES).index(attribute), ATTRIBUTES[attribute].index(cls)))
    found = torch.empty(0, IDENTITY)
    while len(found) < n:
        drawn = torch.randn(_DRAWN_AT_ONCE, IDENTITY, generator=random)
        labels = attribute_labels(
            population.avatars(torch.cat([drawn, drawn.new_zeros(len(drawn), len(VIEW))], dim=1))
        )
        fits = torch.ones(len(drawn), dtype=torch.bool)
        for column, label in wanted:
            fits &= labels[:, column] == label
        found = torch.cat([found, drawn[fits]])
    return found[:n]


def _seen(people: Tensor, random: torch.Generator) -> Tensor:
    """Add to the numbers of identities those of one view of each, ``[n, NORMALS]``."""
    view = torch.randn(len(people), NORMALS - IDENTITY, generator=random)
    return torch.cat([people, view], dim=1)
