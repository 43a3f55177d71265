"""Captions for annotated avatars, and which of them is true of which image.

As for shapes, the truth of every caption is known for every image, so that no true pair counts as a
negative. The face prompts of Chang et al. (AAAI-24) are sentences of this grammar, word for word.
"""

from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from qdgs_lightning.domains.avatars.dataset import ATTRIBUTES
from qdgs_lightning.domains.avatars.labelled import KINDS, AnnotatedAvatars

# What is said of each class; who is in between is neither the one nor the other.
_ADJECTIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "gender": {
        "masculine": ("masculine",),
        "androgynous": ("androgynous",),
        "feminine": ("feminine",),
    },
    "age": {"young": ("young",), "old": ("old",)},
}
_DETAILS: dict[str, dict[str, tuple[str, ...]]] = {
    "skin": {
        "light": ("with light skin", "with pale skin"),
        "mixed": ("with medium skin", "with tan skin"),
        "dark": ("with dark skin", "with brown skin"),
    },
    "hair": {"short": ("with short hair",), "long": ("with long hair",)},
    "age": {
        "young": ("in their 20s", "without wrinkles"),
        "old": ("in their 50s", "with wrinkles"),
    },
}

CLEAR_CAPTIONS = (
    "A detailed photo of an individual with diverse features.",
    "A detailed photo of a person.",
    "A clear portrait of a person.",
    "A sharp picture of a face.",
)

SPOILT_CAPTIONS = (
    "An obscure, fake, or discolored photo of a person.",
    "A fake face.",
    "A bad picture of a person.",
    "Nothing that can be recognised.",
)

KIND_CAPTIONS: dict[str, tuple[str, ...]] = {
    "blurred": ("A blurred photo of a person.", "A face out of focus."),
    "noisy": ("A noisy photo of a person.", "Noise."),
    "blended": ("Two faces in one picture.", "Two merged people."),
    "discoloured": ("A discolored photo of a person.", "A person with green, blue or purple skin."),
    "erased": ("An obscure photo of a person.", "A face without features."),
    "scrambled": ("A puzzle of a face.", "Pieces of a face."),
    "distorted": ("A distorted face.", "A bent photo of a person."),
}

_SIZES = [*(len(classes) for classes in ATTRIBUTES.values()), len(KINDS)]
_GRID = dict(
    zip(
        [*ATTRIBUTES, "kind"],
        torch.meshgrid(*map(torch.arange, _SIZES), indexing="ij"),
        strict=True,
    )
)


def _sentences() -> Iterator[tuple[str, Tensor]]:
    """Yield each caption with its truth for all combinations: 1, 0, or nan where undecided."""
    clear = _GRID["kind"] == KINDS.index("clear")
    nouns: list[tuple[str, dict[str, str]]] = [("person", {})]
    nouns += [
        (f"{word} person", {name: cls})
        for name, classes in _ADJECTIVES.items()
        for cls, words in classes.items()
        for word in words
    ]
    details: list[tuple[str, dict[str, str]]] = [
        (words, {name: cls})
        for name, classes in _DETAILS.items()
        for cls, phrases in classes.items()
        for words in phrases
    ]
    pairs = [
        (f"{a} and {b}", {**one, **other})
        for (a, one), (b, other) in combinations(details, 2)
        if one.keys() != other.keys() and a.startswith("with") and b.startswith("with")
    ]
    for noun, of_noun in nouns:
        for detail, of_detail in [("", {}), *details, *pairs]:
            said = {**of_noun, **of_detail}
            if not said or len(said) < len(of_noun) + len(of_detail):
                continue  # true of anybody, or age twice
            truth = torch.ones(_SIZES)
            for name, cls in said.items():
                truth = truth * (_GRID[name] == ATTRIBUTES[name].index(cls))
            # Who it is in a spoilt picture is nothing that people would agree on.
            article = "An" if noun.startswith(("a", "o")) else "A"
            yield f"{article} {noun} {detail}".strip() + ".", truth.masked_fill(~clear, torch.nan)
    for caption in CLEAR_CAPTIONS:
        yield caption, clear.float()
    for caption in SPOILT_CAPTIONS:
        yield caption, (~clear).float()
    for kind, captions in KIND_CAPTIONS.items():
        for caption in captions:
            yield caption, (_GRID["kind"] == KINDS.index(kind)).float()


_ALL = list(_sentences())

AVATAR_CAPTIONS = tuple(caption for caption, _ in _ALL)
"""Every sentence of the grammar."""

_TRUTH = torch.stack([truth.flatten() for _, truth in _ALL])


def avatar_caption_truth(annotated: AnnotatedAvatars, captions: Tensor) -> Tensor:
    """Say which captions are true of which images.

    Args:
        annotated: n images.
        captions: Indices into `AVATAR_CAPTIONS`, shape ``[m]``.

    Returns:
        1 where the caption is true, 0 where it is false, nan where people would disagree; shape
        ``[n, m]``.
    """
    codes = torch.zeros_like(annotated.kinds)
    for column, size in zip((*annotated.labels.unbind(1), annotated.kinds), _SIZES, strict=True):
        codes = codes * size + column
    return _TRUTH[captions][:, codes].T
