"""Annotated avatars and their captions: the truth about each image is what was drawn."""

import pytest
import torch

from qdgs_lightning.domains.avatars.captions import AVATAR_CAPTIONS, avatar_caption_truth
from qdgs_lightning.domains.avatars.dataset import ATTRIBUTES, Population, attribute_labels
from qdgs_lightning.domains.avatars.labelled import (
    KINDS,
    AnnotatedAvatars,
    render_annotated_avatars,
)
from qdgs_lightning.domains.avatars.renderer import render_avatars
from qdgs_lightning.guidance.prompts import FACE_MEASURES, FACE_OBJECTIVE


def _draw(n: int, junk: float) -> AnnotatedAvatars:
    return render_annotated_avatars(n, torch.Generator().manual_seed(0), junk=junk)


def _one(kind: str = "clear", **classes: str) -> AnnotatedAvatars:
    labels = [ATTRIBUTES[name].index(classes[name]) for name in ATTRIBUTES]
    return AnnotatedAvatars(
        torch.zeros(1, 3, 8, 8), torch.tensor([labels]), torch.tensor([KINDS.index(kind)])
    )


def _truth(image: AnnotatedAvatars, caption: str) -> float:
    return float(avatar_caption_truth(image, torch.tensor([AVATAR_CAPTIONS.index(caption)])))


def test_as_much_junk_as_asked_for_evenly_of_each_kind() -> None:
    drawn = _draw(1500, 0.42)
    shares = drawn.kinds.bincount(minlength=len(KINDS)) / 1500
    assert float(shares[0]) == pytest.approx(0.58, abs=0.04)
    assert shares[1:].min() > 0.04
    assert shares[1:].max() < 0.08
    assert drawn.images.shape == (1500, 3, 64, 64)
    assert drawn.images.min() >= 0
    assert drawn.images.max() <= 1
    assert torch.equal(_draw(20, 0.5).images, _draw(20, 0.5).images)


def test_clear_faces_are_nearly_what_was_drawn_and_junk_is_not() -> None:
    clear, junk = _draw(300, 0.0), _draw(300, 1.0)
    # The same people, for their numbers are drawn first.
    people = Population.even().sample(300, torch.Generator().manual_seed(0))
    assert torch.equal(clear.labels, attribute_labels(people))
    assert torch.equal(junk.labels, attribute_labels(people))
    drawn = render_avatars(people)
    spoilt = [(images - drawn).abs().mean(dim=(1, 2, 3)) for images in (clear.images, junk.images)]
    assert spoilt[0].mean() < 0.035
    for kind in range(1, len(KINDS)):
        off = spoilt[1][junk.kinds == kind]
        assert off.mean() > 0.05
        # Hardly one of them is left as it was; of blurred and erased faces little else is changed.
        least = 0.03 if KINDS[kind] in ("blurred", "erased") else 0.05
        assert (off > least).float().mean() > 0.85


def test_published_face_prompts_are_captions_word_for_word() -> None:
    for pair in (FACE_OBJECTIVE, *FACE_MEASURES):
        assert pair.positive in AVATAR_CAPTIONS
        assert pair.negative in AVATAR_CAPTIONS
    assert len(set(AVATAR_CAPTIONS)) == len(AVATAR_CAPTIONS)


def test_captions_are_true_of_what_was_drawn() -> None:
    person = _one(skin="dark", gender="feminine", hair="long", age="old")
    for caption in (
        "A person with dark skin.",
        "A feminine person.",
        "A person in their 50s.",
        "An old person with long hair.",
        "A feminine person with dark skin and with long hair.",
        FACE_OBJECTIVE.positive,
    ):
        assert _truth(person, caption) == 1
    for caption in (
        "A person with light skin.",
        "A masculine person with dark skin.",
        "A person in their 20s.",
        "A blurred photo of a person.",
        FACE_OBJECTIVE.negative,
    ):
        assert _truth(person, caption) == 0


def test_who_is_in_between_is_neither_the_one_nor_the_other() -> None:
    between = _one(skin="mixed", gender="androgynous", hair="short", age="young")
    for caption in ("A person with dark skin.", "A masculine person.", "A feminine person."):
        assert _truth(between, caption) == 0
    for caption in (
        "A person with medium skin.",
        "An androgynous person.",
        "A person with short hair.",
    ):
        assert _truth(between, caption) == 1


def test_nobody_decides_who_is_in_a_spoilt_picture() -> None:
    blurred = _one("blurred", skin="dark", gender="feminine", hair="long", age="old")
    assert torch.tensor(_truth(blurred, "A person with dark skin.")).isnan()
    assert _truth(blurred, "A face out of focus.") == 1
    assert _truth(blurred, "A noisy photo of a person.") == 0
    assert _truth(blurred, FACE_OBJECTIVE.negative) == 1
    assert _truth(blurred, FACE_OBJECTIVE.positive) == 0
