"""Avatars: attributes as asked for, one identity in many images, and nothing else that changes."""

import pytest
import torch
from torch import Tensor

from qdgs_lightning.domains.avatars.dataset import (
    ATTRIBUTES,
    IDENTITY,
    NORMALS,
    Population,
    attribute_labels,
    avatar_styles,
    draw_latent_images,
    style_attributes,
)
from qdgs_lightning.domains.avatars.renderer import GEOMETRY, VIEW, render_avatars
from qdgs_lightning.errors import QDGSError


def _normals(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, NORMALS, generator=torch.Generator().manual_seed(seed))


def _shares(labels: Tensor, attribute: str) -> list[float]:
    column = list(ATTRIBUTES).index(attribute)
    counts = labels[:, column].bincount(minlength=len(ATTRIBUTES[attribute]))
    return (counts / len(labels)).tolist()


def test_shares_of_the_population_are_those_published_for_ffhq() -> None:
    labels = attribute_labels(Population().avatars(_normals(100_000)))
    assert _shares(labels, "skin") == pytest.approx([0.731, 0.171, 0.098], abs=0.005)
    assert _shares(labels, "gender") == pytest.approx([0.442, 0.039, 0.519], abs=0.005)
    assert _shares(labels, "age") == pytest.approx([0.649, 0.351], abs=0.005)


def test_long_hair_goes_with_gender_as_asked_for() -> None:
    avatars = Population(long_hair=(0.1, 0.5, 0.9)).avatars(_normals(400_000))
    hair = attribute_labels(avatars)[:, list(ATTRIBUTES).index("hair")].double()
    for gender, share in ((0.1, 0.1), (1 / 6, 0.1), (1 / 3, 0.3), (1 / 2, 0.5), (5 / 6, 0.9)):
        near = (avatars.gender - gender).abs() < 0.02
        assert near.sum() > 500
        assert float(hair[near].mean()) == pytest.approx(share, abs=0.05)


def test_every_combination_is_equally_common_in_the_even_population() -> None:
    labels = attribute_labels(Population.even().avatars(_normals(100_000)))
    joint = ((labels[:, 0] * 3 + labels[:, 1]) * 2 + labels[:, 2]) * 2 + labels[:, 3]
    shares = joint.bincount(minlength=36) / len(joint)
    assert shares.min() > 0.9 / 36
    assert shares.max() < 1.1 / 36


def test_values_grow_with_the_normal_numbers_and_few_lie_between_classes() -> None:
    normals = torch.linspace(-3, 3, 1001)[:, None].expand(-1, NORMALS)
    avatars = Population().avatars(normals)
    for values in (avatars.skin, avatars.gender, avatars.age):
        assert values.diff().ge(0).all()
        assert 0 <= values.min() < 0.02
        assert 0.98 < values.max() <= 1
    many = Population().avatars(_normals(50_000))
    assert ((many.age - 0.5).abs() < 0.08).float().mean() < 0.035


def test_images_are_rgb_in_range_and_repeatable() -> None:
    avatars = Population().avatars(_normals(8))
    images = render_avatars(avatars, 64)
    assert images.shape == (8, 3, 64, 64)
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, render_avatars(avatars, 64))
    # A face does not depend on those beside it.
    alone = render_avatars(avatars.rows(slice(3, 4)), 64)
    assert torch.allclose(images[3:4], alone, atol=1e-6)


def test_larger_images_show_the_same_face() -> None:
    avatars = Population().avatars(_normals(16))
    small, large = render_avatars(avatars, 56), render_avatars(avatars, 112)
    halved = torch.nn.functional.avg_pool2d(large, 2)
    assert (halved - small).abs().mean() < 0.01


@pytest.mark.parametrize("column", range(NORMALS))
def test_every_number_changes_the_picture_and_a_little_changes_it_a_little(column: int) -> None:
    # Brown eyes of dark people have no other colour to show.
    normals = 0.5 * _normals(16)
    normals[:, 0] -= 1
    moved, nudged = normals.clone(), normals.clone()
    moved[:, column] += 2
    nudged[:, column] += 0.02
    people = Population()
    images = render_avatars(people.avatars(normals), 64)
    change = (render_avatars(people.avatars(moved), 64) - images).abs().mean()
    little = (render_avatars(people.avatars(nudged), 64) - images).abs().mean()
    assert change > 1e-4
    assert little < 0.05 * change


def test_the_view_leaves_identity_and_attributes_alone() -> None:
    normals = _normals(4)
    other = torch.cat([normals[:, :IDENTITY], _normals(4, seed=1)[:, IDENTITY:]], dim=1)
    a, b = (Population().avatars(rows) for rows in (normals, other))
    assert torch.equal(a.geometry, b.geometry)
    assert torch.equal(attribute_labels(a), attribute_labels(b))
    assert not torch.equal(a.view, b.view)
    assert a.geometry.shape[1] == len(GEOMETRY)
    assert a.view.shape[1] == len(VIEW)


def test_skin_is_as_dark_as_it_is_said_to_be() -> None:
    normals = _normals(64)
    means = []
    for level in (-2.0, 0.0, 2.0):
        normals[:, 0] = level
        images = render_avatars(Population.even().avatars(normals), 64)
        means.append(images[:, :, 34:38, 20:44].mean(dim=(1, 2, 3)))  # the cheeks
    assert (means[0] > means[1]).all()
    assert (means[1] > means[2]).all()


def test_styles_keep_the_distances_of_what_they_stand_for() -> None:
    avatars = Population.even().avatars(_normals(5_000))
    named = (
        avatars.skin, avatars.age, avatars.gender,
        avatars.hair_length, avatars.hair_colour, avatars.eye_colour,
    )  # fmt: skip
    halves = torch.cat([torch.stack(named, 1), avatars.geometry / 2, avatars.view / 2], dim=1)
    styles = avatar_styles(avatars)
    few = slice(0, 50)
    expected = 12**0.5 * torch.cdist(halves[few].double(), halves[few].double())
    assert torch.allclose(
        torch.cdist(styles[few].double(), styles[few].double()), expected, atol=1e-4
    )
    assert styles.std() == pytest.approx(1, abs=0.1)
    # A distance is right for any rotation; attributes are found by undoing this one.
    assert torch.allclose(
        (style_attributes(styles) + 1) / 2, torch.stack(named, 1)[:, :4], atol=1e-5
    )


def test_latents_stand_for_their_images() -> None:
    drawn = draw_latent_images(Population(), 4, torch.Generator().manual_seed(0))
    length = drawn.z.norm(dim=1, keepdim=True)
    avatars = Population().avatars(drawn.z * NORMALS**0.5 / length)
    assert torch.allclose(drawn.images, render_avatars(avatars), atol=1e-5)
    assert torch.allclose(drawn.w, avatar_styles(avatars), atol=1e-5)


@pytest.mark.parametrize(
    "shares", [{"skin": (0.5, 0.4, 0.2)}, {"age": (1.0, 0.0)}, {"long_hair": (0.0, 0.5, 1.0)}]
)
def test_shares_that_are_none_are_refused(shares: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(QDGSError, match="give"):
        Population(**shares)  # type: ignore[arg-type]
