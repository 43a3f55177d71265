"""Captions: the published prompts are sentences of the grammar, and truth is as people say."""

import pytest
import torch

from qdgs_lightning.domains.shapes.captions import CAPTIONS, caption_truth
from qdgs_lightning.domains.shapes.labelled import KINDS, AnnotatedImages, render_annotated
from qdgs_lightning.guidance.prompts import SHAPES_MEASURES, SHAPES_OBJECTIVE


def _truth(caption: str, shape: int, colour: int, kind: str) -> float:
    nothing = torch.empty(1, 3, 0, 0)
    image = AnnotatedImages(
        images=nothing,
        shapes=torch.tensor([shape]),
        colours=torch.tensor([colour]),
        kinds=torch.tensor([KINDS.index(kind)]),
    )
    return caption_truth(image, torch.tensor([CAPTIONS.index(caption)])).item()


def test_published_prompts_are_captions_word_for_word() -> None:
    for pair in (SHAPES_OBJECTIVE, *SHAPES_MEASURES):
        assert pair.positive in CAPTIONS
        assert pair.negative in CAPTIONS


def test_captions_are_all_different() -> None:
    assert len(set(CAPTIONS)) == len(CAPTIONS)


@pytest.mark.parametrize(
    ("caption", "shape", "colour", "kind", "expected"),
    [
        ("A red shape.", 0, 0, "clear", 1),
        ("A red shape.", 2, 0, "blob", 1),
        ("A red shape.", 0, 2, "mixed", 0),
        ("A blue triangle.", 0, 1, "clear", 1),
        ("A blue triangle.", 1, 1, "clear", 0),
        ("A triangle with 3 edges.", 0, 2, "mixed", 1),
        ("A triangle with 3 edges.", 2, 1, "polygon", 0),
        ("A regular square or a triangle.", 1, 0, "clear", 1),
        ("A regular square or a triangle.", 0, 2, "mixed", 0),
        ("Splatters of colors.", 0, 0, "clear", 0),
        ("Splatters of colors.", 2, 2, "splatter", 1),
        ("Splatters of colors.", 2, 2, "empty", float("nan")),
        ("A shape of mixed colors.", 2, 2, "merged", float("nan")),
    ],
)
def test_truth(caption: str, shape: int, colour: int, kind: str, expected: float) -> None:
    assert _truth(caption, shape, colour, kind) == pytest.approx(expected, nan_ok=True)


def test_junk_share_and_labels_of_annotated_renders() -> None:
    annotated = render_annotated(600, torch.Generator().manual_seed(0), junk=0.4)
    clear = annotated.kinds == 0
    assert float(clear.float().mean()) == pytest.approx(0.6, abs=0.06)
    assert set(annotated.shapes[clear].tolist()) == {0, 1}
    assert set(annotated.colours[clear].tolist()) == {0, 1}
    assert set(annotated.kinds.tolist()) == set(range(len(KINDS)))
    mixed = annotated.kinds == KINDS.index("mixed")
    assert (annotated.colours[mixed] == 2).all()
    assert (annotated.shapes[mixed] < 2).all()
    assert annotated.images.min() >= 0
    assert annotated.images.max() <= 1
