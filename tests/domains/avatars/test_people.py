"""People of the avatars domain: one face, several views."""

import pytest
import torch

from qdgs_lightning.domains.avatars import people as avatar_people
from qdgs_lightning.domains.avatars.dataset import ATTRIBUTES, Population
from qdgs_lightning.domains.avatars.people import AvatarPeople
from qdgs_lightning.errors import QDGSError


def _people(**settings: object) -> AvatarPeople:
    defaults: dict[str, object] = {"identities": 30, "images_per_identity": 6, "seed": 0}
    return AvatarPeople(Population(), **(defaults | settings))  # type: ignore[arg-type]


def test_images_of_one_person_are_more_alike_than_those_of_two() -> None:
    people = _people(only={"skin": "light", "hair": "short", "age": "young"})
    assert people.labels.tolist() == [person for person in range(30) for _ in range(6)]
    # Outlines, which light and backdrop leave alone, are what is left of identity in few pixels.
    pixels = people.images.float().mean(dim=1).flatten(1)
    distance = torch.cdist(pixels, pixels)
    same = people.labels[:, None] == people.labels
    apart = ~torch.eye(len(same), dtype=torch.bool)
    assert distance[same & apart].mean() < distance[~same].mean()
    assert distance[same & apart].min() > 0


def test_equal_arguments_name_equal_sets() -> None:
    assert torch.equal(_people().images, _people().images)
    assert not torch.equal(_people().images, _people(seed=1).images)
    image, identity = _people()[13]
    assert image.shape == (3, 64, 64)
    assert image.dtype == torch.uint8
    assert identity == 2


def test_views_differ_also_where_images_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avatar_people, "_CHUNK", 4)
    # Fills what nothing was drawn into with one number.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        people = _people(identities=2, images_per_identity=8)
    finally:
        torch.use_deterministic_algorithms(False)
    for person in (0, 1):
        mine = people.images[people.labels == person]
        assert len({image.numpy().tobytes() for image in mine}) == 8
    assert people.images.flatten(1).float().std(dim=1).min() > 1


def test_only_those_who_are_asked_for() -> None:
    people = _people(only={"skin": "dark", "age": "old"}, identities=200, images_per_identity=1)
    names = list(ATTRIBUTES)
    assert set(people.attributes[:, names.index("skin")].tolist()) == {2}
    assert set(people.attributes[:, names.index("age")].tolist()) == {1}
    assert set(people.attributes[:, names.index("gender")].tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"identities": 0}, "identities is 0"),
        ({"images_per_identity": 0}, "images_per_identity is 0"),
        ({"only": {"skni": "dark"}}, "'skni'.*skin"),
        ({"only": {"skin": "drak"}}, "'drak'.*dark"),
    ],
)
def test_mistakes(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(QDGSError, match=sentence):
        _people(**settings)
