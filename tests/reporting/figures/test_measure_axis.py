"""Labels hold a measure's name and the words in which its two ends differ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.guidance.prompts import FACE_MEASURES, SHAPES_MEASURES
from qdgs_lightning.reporting.figures.measure_axis import measure_label, short_ends

WORDS = st.lists(st.sampled_from(["a", "the", "old", "man", "hat"]), min_size=1, max_size=6)


def test_published_prompts_are_reduced_to_what_differs() -> None:
    pairs = [*FACE_MEASURES, *SHAPES_MEASURES]
    assert [short_ends((pair.positive, pair.negative)) for pair in pairs] == [
        ("dark", "light"),
        ("masculine", "feminine"),
        ("long", "short"),
        ("20s", "50s"),
        ("red", "blue"),
        ("triangle with 3 edges", "square or diamond with 4 edges"),
    ]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (("An old man.", "A man."), ("old man", "man")),  # not "a"
        (("The sky", "A sky"), ("The sky", "A sky")),  # they differ in nothing else
        (("dark", "light"), ("dark", "light")),
        (("A cat.", "A cat outdoors."), ("cat", "cat outdoors")),
    ],
)
def test_no_end_is_lost(ends: tuple[str, str], expected: tuple[str, str]) -> None:
    assert short_ends(ends) == expected


@given(WORDS, WORDS)
def test_two_sentences_stay_two(one: list[str], other: list[str]) -> None:
    if one == other:
        return
    low, high = short_ends((" ".join(one), " ".join(other)))
    assert low != high
    assert low
    assert high
    assert low in " ".join(one)
    assert high in " ".join(other)


def test_a_label_takes_as_many_lines_as_it_needs() -> None:
    skin = ("A person with dark skin.", "A person with light skin.")
    shape = (SHAPES_MEASURES[1].positive, SHAPES_MEASURES[1].negative)
    assert measure_label("skin", skin, inches=5) == "← dark    skin    light →"
    assert measure_label("skin", skin, inches=1.6) == "← dark    light →\nskin"
    assert measure_label("shape", shape, inches=3).splitlines() == [
        "← triangle with 3 edges",
        "square or diamond with 4 edges →",
        "shape",
    ]
    assert (
        measure_label("red to blue", ("A red one.", "A blue one."), inches=5) == "← red to blue →"
    )
    assert measure_label("latent 1", None, inches=5) == "latent 1"
