"""Drawn faces with exact attributes: populations as biased as asked for, identities, images."""

from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from qdgs_lightning.domains.avatars.renderer import GEOMETRY, VIEW, Avatars, render_avatars
from qdgs_lightning.errors import QDGSError

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "skin": ("light", "mixed", "dark"),
    "gender": ("masculine", "androgynous", "feminine"),
    "hair": ("short", "long"),
    "age": ("young", "old"),
}
"""Classes of each attribute, in the order of its values from 0 to 1, which they share evenly."""

IDENTITY = 6 + len(GEOMETRY)
"""How many normal numbers make an identity: attributes, colours of hair and eyes, geometry."""

NORMALS = IDENTITY + len(VIEW)
"""How many normal numbers make an image."""

_GAP = 0.16  # of an attribute's values around each bound, which few people have
_FEW = 0.03  # share of the people there


@dataclass(frozen=True, kw_only=True)
class Population:
    """Who is there: shares of the classes of each attribute.

    An avatar is a function of `NORMALS` independent standard normal numbers; what the shares say is
    which values of an attribute they stand for. Few people are near the bounds between classes.

    Attributes:
        skin: Shares of light, mixed and dark skin; by default those of FFHQ, as published (Chang et
            al., AAAI-24).
        gender: Shares of masculine, androgynous and feminine presentation; as published.
        age: Shares of young and old; as published.
        long_hair: Share of long hair in the middle of masculine, of androgynous and of feminine
            presentation, where gender is 1/6, 1/2 and 5/6; linear in between, constant beyond.

    Raises:
        QDGSError: Shares do not sum to 1 or lie outside (0, 1).

    Example:
        >>> people = Population().sample(1000, torch.Generator().manual_seed(0))
        >>> images, labels = render_avatars(people), attribute_labels(people)
    """

    skin: tuple[float, float, float] = (0.731, 0.171, 0.098)
    gender: tuple[float, float, float] = (0.442, 0.039, 0.519)
    age: tuple[float, float] = (0.649, 0.351)
    long_hair: tuple[float, float, float] = field(default=(0.12, 0.5, 0.85))

    def __post_init__(self) -> None:
        for name, shares in (("skin", self.skin), ("gender", self.gender), ("age", self.age)):
            if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
                raise QDGSError(
                    f"The shares of {name} are {shares}; give positive ones that sum to 1."
                )
        if not all(0 < share < 1 for share in self.long_hair):
            raise QDGSError(f"long_hair is {self.long_hair}; give shares between 0 and 1.")

    @classmethod
    def even(cls) -> "Population":
        """Return the population in which all classes and pairs of classes are equally common."""
        third = (1 / 3, 1 / 3, 1 / 3)
        return cls(skin=third, gender=third, age=(0.5, 0.5), long_hair=(0.5, 0.5, 0.5))

    def avatars(self, normals: Tensor) -> Avatars:
        """Say who normal numbers stand for.

        Args:
            normals: Shape ``[n, NORMALS]``; columns of the identity first, then those of the view.
        """
        quantiles = torch.special.ndtr(normals)
        skin, gender, hair, age, hair_colour, eye_colour = quantiles[:, :6].unbind(1)
        signed = 2 * quantiles - 1
        gender = _values(gender, self.gender)
        long_hair = _interpolate(gender, (1 / 6, 1 / 2, 5 / 6), self.long_hair)
        return Avatars(
            skin=_values(skin, self.skin),
            gender=gender,
            age=_values(age, self.age),
            hair_length=_two_classes(hair, long_hair),
            hair_colour=hair_colour,
            eye_colour=eye_colour.square(),  # brown is the most common colour
            geometry=signed[:, 6:IDENTITY],
            view=signed[:, IDENTITY:NORMALS],
        )

    def sample(self, n: int, generator: torch.Generator) -> Avatars:
        """Draw n people, one image of each."""
        return self.avatars(torch.randn(n, NORMALS, generator=generator))


def attribute_labels(avatars: Avatars) -> Tensor:
    """Say which class of each of `ATTRIBUTES` avatars are of, int64, shape ``[n, 4]``."""
    values = (avatars.skin, avatars.gender, avatars.hair_length, avatars.age)
    return torch.stack(
        [
            (value * len(classes)).long().clamp(0, len(classes) - 1)
            for value, classes in zip(values, ATTRIBUTES.values(), strict=True)
        ],
        dim=1,
    )


class LatentImages(NamedTuple):
    """Images with the latents that a generator is to draw them from.

    Attributes:
        z: Normal numbers, shape ``[m, NORMALS]``.
        w: Styles that z stands for, see `avatar_styles`, shape ``[m, NORMALS]``.
        images: What the first n of them show, RGB in [0, 1], shape ``[n, 3, S, S]``.
    """

    z: Tensor
    w: Tensor
    images: Tensor


def avatar_styles(avatars: Avatars) -> Tensor:
    """Write what avatars depend on as styles: mixed by a fixed rotation, of about unit variance.

    Unlike normal numbers, styles are linear in the attributes: where few people are, they are far
    apart. Generators that learn from images find such spaces by themselves (Karras et al. 2019).

    Args:
        avatars: n of them.

    Returns:
        Shape ``[n, NORMALS]``.
    """
    named = (
        avatars.skin, avatars.age, avatars.gender,
        avatars.hair_length, avatars.hair_colour, avatars.eye_colour,
    )  # fmt: skip
    values = torch.cat([2 * torch.stack(named, 1) - 1, avatars.geometry, avatars.view], dim=1)
    return values @ _styles_of_values()


def style_attributes(styles: Tensor) -> Tensor:
    """Read skin, age, gender and length of hair out of styles; the inverse of `avatar_styles`.

    Args:
        styles: Shape ``[n, NORMALS]``.

    Returns:
        Numbers from -1 to 1, shape ``[n, 4]``.
    """
    inverse = _styles_of_values().T / 3  # of a rotation that is stretched by the root of 3
    return styles @ inverse[:, :4].to(styles.device)


def view_styles() -> Tensor:
    """Say how styles change with the view: by one unit of each of `VIEW`.

    Returns:
        Shape ``[len(VIEW), NORMALS]``.
    """
    return _styles_of_values()[IDENTITY:]


def _styles_of_values() -> Tensor:
    """Return the linear map from values to styles, ``[NORMALS, NORMALS]``."""
    random = torch.randn(NORMALS, NORMALS, generator=torch.Generator().manual_seed(0))
    rotation: Tensor = torch.linalg.qr(random)[0]
    return 3**0.5 * rotation


def draw_latent_images(
    population: Population,
    n: int,
    generator: torch.Generator,
    *,
    latents: int | None = None,
    image_size: int = 64,
) -> LatentImages:
    """Draw images of people, and the latents that stand for them.

    Args:
        population: Who is drawn.
        n: How many images.
        generator: Source of the randomness.
        latents: How many latents, of which the first n are drawn; n if left out.
        image_size: Side in pixels.
    """
    z = torch.randn(latents or n, NORMALS, generator=generator)
    # StyleGAN2 sees z only up to its length.
    avatars = population.avatars(z * (NORMALS**0.5 / z.norm(dim=1, keepdim=True)))
    images = render_avatars(avatars.rows(slice(n)), image_size)
    return LatentImages(z, avatar_styles(avatars), images)


def _values(quantiles: Tensor, shares: tuple[float, ...]) -> Tensor:
    """Map quantiles in [0, 1] to values in [0, 1] of which each class has an even part."""
    bounds = list(accumulate(shares))[:-1]
    places, values = [0.0], [0.0]
    for number, bound in enumerate(bounds, start=1):
        few = min(_FEW, *shares) / 2
        value = number / len(shares)
        places += [bound - few, bound, bound + few]
        values += [value - _GAP / 2, value, value + _GAP / 2]
    return _interpolate(quantiles, (*places, 1.0), (*values, 1.0))


def _interpolate(x: Tensor, places: tuple[float, ...], values: tuple[float, ...]) -> Tensor:
    """Follow a piecewise linear curve, level beyond its ends."""
    xs, ys = torch.tensor(places), torch.tensor(values)
    x = x.clamp(places[0], places[-1])
    after = torch.searchsorted(xs, x.contiguous()).clamp(1, len(xs) - 1)
    share = (x - xs[after - 1]) / (xs[after] - xs[after - 1])
    return torch.lerp(ys[after - 1], ys[after], share)


def _two_classes(quantiles: Tensor, share: Tensor) -> Tensor:
    """Map quantiles to [0, 1], of which a share that may differ from row to row is above 1/2."""
    low = (0.5 - _GAP / 2) * (quantiles / (1 - share)).clamp(max=1)
    return torch.where(quantiles < 1 - share, low, 1 - (1 - quantiles) / share * (0.5 - _GAP / 2))
