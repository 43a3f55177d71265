"""Prompt guidance: the published value, its gradients, and what it refuses."""

import math
from typing import cast

import open_clip
import pytest
import torch
import torch.nn.functional as F

from qdgs_lightning.datasets.rendering import render_shapes, sample_poses
from qdgs_lightning.guidance import PromptGuidance, PromptPair
from qdgs_lightning.guidance.clip import CLIPError, OpenCLIP
from qdgs_lightning.guidance.prompts import PromptError, spherical_distance


def _images(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4
    return render_shapes(labels // 2, labels % 2, sample_poses(n, generator))


def _guidance(**options: object) -> PromptGuidance:
    guidance = PromptGuidance(**options)  # type: ignore[arg-type]
    guidance.prepare()
    return guidance


@pytest.mark.parametrize("angle", [0.0, 1e-3, 0.5, math.pi / 2, 3.0, math.pi])
def test_spherical_distance_is_the_angle(angle: float) -> None:
    a = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    b = torch.tensor([math.cos(angle), math.sin(angle), 0], dtype=torch.float64)
    assert float(spherical_distance(a, b)) == pytest.approx(angle, abs=1e-9)


def test_values_are_the_published_formula_on_open_clip_s_own_embeddings() -> None:
    guidance = _guidance()
    images = _images(8)
    objective, measures = guidance(images, torch.zeros(8, 2))
    clip = cast(OpenCLIP, guidance.clip)
    tokenizer = open_clip.get_tokenizer("shapes_clip")

    def angles(sentence: str) -> torch.Tensor:
        normalise = open_clip.transform.Normalize(
            mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD
        )
        text = F.normalize(clip.encode_text(tokenizer([sentence])), dim=-1)
        image = F.normalize(clip.encode_image(normalise(images)), dim=-1)
        return torch.as_tensor((image - text).norm(dim=-1).div(2).arcsin().mul(2))

    loss = angles("A regular square or a triangle.") - angles("Splatters of colors.")
    assert objective.tolist() == pytest.approx((100 - 50 * loss).tolist(), abs=1e-3)
    colour = angles("A red shape.") - angles("A blue shape.")
    assert measures[:, 0].tolist() == pytest.approx(colour.tolist(), abs=1e-4)
    shape = angles("A triangle with 3 edges.") - angles("A square or diamond with 4 edges.")
    assert measures[:, 1].tolist() == pytest.approx(shape.tolist(), abs=1e-4)


def test_gradient_agrees_with_finite_differences() -> None:
    guidance = _guidance().double()
    image = _images(1).double().requires_grad_()
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).double()
    latents = torch.zeros(1, 2, dtype=torch.float64)

    def value(step: float) -> torch.Tensor:
        evaluation = guidance(image + step * direction, latents)
        return torch.as_tensor(evaluation.objective.sum())

    objective = guidance(image, latents).objective.sum()
    (gradient,) = torch.autograd.grad(objective, image)
    slope = float((gradient * direction).sum())
    with torch.no_grad():
        difference = float((value(1e-6) - value(-1e-6)) / 2e-6)
    assert slope == pytest.approx(difference, rel=1e-4)


def test_images_of_another_size_are_resized() -> None:
    guidance = _guidance()
    large = F.interpolate(_images(4), size=256, mode="bilinear", antialias=True)
    latents = torch.zeros(4, 2)
    small, resized = guidance(_images(4), latents), guidance(large, latents)
    assert (small.measures - resized.measures).abs().max() < 0.3
    assert torch.equal(small.measures > 0, resized.measures > 0)


def test_cutouts_are_fixed_by_the_seed() -> None:
    images, latents = _images(4), torch.zeros(4, 2)
    first, again, other, plain = (
        _guidance(**options)(images, latents).objective
        for options in (
            {"cutouts": 2, "seed": 1},
            {"cutouts": 2, "seed": 1},
            {"cutouts": 2, "seed": 2},
            {},
        )
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, plain)


def test_long_latents_cost_objective_by_the_square_of_the_excess() -> None:
    images = _images(2)
    latents = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    free = _guidance()(images, latents).objective
    costly = _guidance(norm_limit=2.0, norm_weight=0.1)(images, latents).objective
    assert (free - costly).tolist() == pytest.approx([50 * 0.1 * 9, 0], abs=1e-3)


@pytest.mark.parametrize(
    ("positive", "negative"), [("", "a"), ("a", "  "), ("a red shape", " a red shape ")]
)
def test_prompts_that_say_nothing_are_refused(positive: str, negative: str) -> None:
    with pytest.raises(PromptError, match="give two"):
        PromptPair(name="colour", positive=positive, negative=negative)


def test_measures_need_names_of_their_own() -> None:
    pair = PromptPair(name="colour", positive="red", negative="blue")
    for measures in ([], [pair, pair]):
        with pytest.raises(PromptError, match="at least one measure"):
            PromptGuidance(measures=measures)


def test_unknown_models_tags_and_unreachable_hubs_say_what_to_do() -> None:
    with pytest.raises(CLIPError, match="knows no model 'ViT-Z'"):
        _guidance(model="ViT-Z")
    with pytest.raises(CLIPError, match=r"neither a file nor a tag of ViT-B-32"):
        _guidance(model="ViT-B-32", pretrained="nonsense")
    with pytest.raises(CLIPError, match=r"laion/CLIP-ViT-B-32.*set `pretrained` to the path"):
        _guidance(model="ViT-B-32", pretrained="laion2b_s34b_b79k")
