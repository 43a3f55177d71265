"""What the shipped weights are good for; `make weights` asks the same of remade ones."""

import pytest
import torch
from torch import Tensor

from qdgs_lightning.domains.shapes import ShapeAnnotator
from qdgs_lightning.domains.shapes.labelled import KINDS, render_annotated
from qdgs_lightning.domains.shapes.renderer import render_shapes, sample_poses
from qdgs_lightning.generators import ImplicitGenerator
from qdgs_lightning.guidance import PromptGuidance

UNSEEN = 987_654_321


def _clean(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw unbiased renders, none of them from a training set: images, shapes, colours."""
    generator = torch.Generator().manual_seed(UNSEEN)
    shapes, colours = torch.randint(2, (2, n), generator=generator)
    return render_shapes(shapes, colours, sample_poses(n, generator)), shapes, colours


@pytest.fixture(scope="module")
def annotator() -> ShapeAnnotator:
    return ShapeAnnotator().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def guidance() -> PromptGuidance:
    guidance = PromptGuidance()
    guidance.prepare()
    return guidance


def test_clip_knows_shape_and_colour_by_the_published_prompts(guidance: PromptGuidance) -> None:
    images, shapes, colours = _clean(1000)
    measures = torch.cat([guidance(part, part).measures for part in torch.split(images, 50)])
    assert ((measures[:, 0] >= 0) == (colours == 1)).float().mean() >= 0.99
    assert ((measures[:, 1] >= 0) == (shapes == 1)).float().mean() >= 0.99


def test_clip_prefers_clear_shapes_to_junk(guidance: PromptGuidance) -> None:
    annotated = render_annotated(600, torch.Generator().manual_seed(UNSEEN))
    objective = torch.cat([guidance(p, p).objective for p in torch.split(annotated.images, 50)])
    clear = annotated.kinds == KINDS.index("clear")
    better = objective[clear].unsqueeze(1) > objective[~clear]
    assert better.float().mean() >= 0.98


def test_annotator_is_right_on_renders_and_junk(annotator: ShapeAnnotator) -> None:
    images, shapes, colours = _clean(1000)
    said = [annotator(part) for part in torch.split(images, 50)]
    assert (torch.cat([shape for shape, _ in said]).argmax(1) == shapes).float().mean() >= 0.99
    assert (torch.cat([colour for _, colour in said]).argmax(1) == colours).float().mean() >= 0.99
    annotated = render_annotated(1000, torch.Generator().manual_seed(UNSEEN))
    shape, colour = annotator(annotated.images)
    assert (shape.argmax(1) == annotated.shapes).float().mean() >= 0.97
    assert (colour.argmax(1) == annotated.colours).float().mean() >= 0.97


@pytest.mark.parametrize(
    ("weights", "rare"), [("shapes_generator_090", 0.05), ("shapes_generator_098", 0.01)]
)
def test_generator_is_crisp_and_as_biased_as_its_training_set(
    annotator: ShapeAnnotator, weights: str, rare: float
) -> None:
    generator = ImplicitGenerator(weights)
    generator.prepare()
    latents = generator.sample_latents(2000, torch.Generator().manual_seed(UNSEEN))
    said = [annotator(generator(part)) for part in torch.split(latents, 50)]
    shapes = torch.cat([shape for shape, _ in said]).argmax(1)
    colours = torch.cat([colour for _, colour in said]).argmax(1)
    clear = (shapes < 2) & (colours < 2)
    assert clear.float().mean() >= 0.9
    groups = torch.bincount((2 * shapes + colours)[clear], minlength=4) / clear.sum()
    # All four groups exist; the rare ones are about as rare as in the images it learnt from.
    for group in (1, 2):
        assert rare / 2 <= groups[group] <= 2.5 * rare
    assert sum(parameter.numel() for parameter in generator.parameters()) <= 3_000_000
