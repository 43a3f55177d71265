"""Captions for annotated shapes, and which of them is true of which image.

A small grammar of templates, synonyms and colours says what an image shows. Because the truth of
every caption is known for every image, a contrastive model can learn from all pairs of a batch,
and no true pair counts as a negative. The prompts of Chang et al. (AAAI-24) are sentences of this
grammar, word for word.
"""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from qdgs_lightning.domains.shapes.labelled import KINDS, MIXED, AnnotatedImages

TEMPLATES = ("A {}.", "An image of a {}.", "A drawing of a {}.", "One {} on a white canvas.")

COLOUR_WORDS = (("red", "bright red", "pink"), ("blue", "bright blue"))

SHAPE_WORDS = (
    ("triangle", "triangle with 3 edges", "triangle with three corners"),
    ("square", "diamond", "square or diamond", "square or diamond with 4 edges"),
)

REGULAR_WORDS = ("regular square or a triangle", "clear triangle or a square", "geometric shape")

SPLATTER_CAPTIONS = (
    "Splatters of colors.",
    "Splatters of colours.",
    "A mess of colors.",
    "Nothing that can be recognised.",
)

KIND_CAPTIONS: dict[str, tuple[str, ...]] = {
    "polygon": ("An irregular polygon.", "A crooked shape with uneven edges."),
    "blob": ("A blob.", "A shapeless blob of color."),
    "broken": ("A broken shape.", "A shape with a hole or a missing piece."),
    "merged": ("Two merged shapes.", "Two shapes."),
    "mixed": ("A shape of mixed colors.", "One shape in red and blue."),
    "splatter": ("Splashes of paint.", "Spots all over the canvas."),
    "empty": ("An empty canvas.", "Nothing on white."),
    "blurred": ("A blurred picture.", "A shape out of focus."),
    "noisy": ("Noise.", "A noisy picture."),
}


def _code(shapes: Tensor, colours: Tensor, kinds: Tensor) -> Tensor:
    """Number each combination of shape, colour and kind."""
    return (shapes * 3 + colours) * len(KINDS) + kinds


_SHAPE, _COLOUR, _KIND = torch.meshgrid(
    torch.arange(3), torch.arange(3), torch.arange(len(KINDS)), indexing="ij"
)


def _sentences() -> Iterator[tuple[str, Tensor]]:
    """Yield each caption with its truth for all combinations: 1, 0, or nan where undecided."""
    anything = torch.ones_like(_KIND, dtype=torch.bool)
    clear = _KIND.eq(KINDS.index("clear"))
    nouns: list[tuple[str, Tensor]] = [("shape", anything)]
    nouns += [(word, clear) for word in REGULAR_WORDS]
    for index, words in enumerate(SHAPE_WORDS):
        nouns += [(word, _SHAPE.eq(index)) for word in words]
    adjectives: list[tuple[str, Tensor]] = [("", anything)]
    for index, words in enumerate(COLOUR_WORDS):
        adjectives += [(f"{word} ", _COLOUR.eq(index)) for word in words]
    for template, (noun, of_shape), (adjective, of_colour) in product(TEMPLATES, nouns, adjectives):
        if noun == "shape" and not adjective:
            continue  # true of almost anything
        yield template.format(adjective + noun), (of_shape & of_colour).float()
    # A white canvas is no good shape, but nobody would call it splatters either.
    splatters = (~clear).float().masked_fill(_KIND.eq(KINDS.index("empty")), torch.nan)
    for caption in SPLATTER_CAPTIONS:
        yield caption, splatters
    for kind, captions in KIND_CAPTIONS.items():
        truth = _KIND.eq(KINDS.index(kind)).float()
        if kind == "mixed":
            elsewhere = (truth == 0) & _COLOUR.eq(MIXED)
            truth = truth.masked_fill(elsewhere, torch.nan)
        for caption in captions:
            yield caption, truth


_ALL = list(_sentences())

CAPTIONS = tuple(caption for caption, _ in _ALL)
"""Every sentence of the grammar."""

_TRUTH = torch.stack([truth.flatten() for _, truth in _ALL])


def caption_truth(annotated: AnnotatedImages, captions: Tensor) -> Tensor:
    """Say which captions are true of which images.

    Args:
        annotated: n images.
        captions: Indices into `CAPTIONS`, shape ``[m]``.

    Returns:
        1 where the caption is true, 0 where it is false, nan where people would disagree; shape
        ``[n, m]``.
    """
    codes = _code(annotated.shapes, annotated.colours, annotated.kinds)
    return _TRUTH[captions][:, codes].T
