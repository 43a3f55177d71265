"""Prompt guidance: the published value, its gradients, and what it refuses."""

import math
from pathlib import Path
from typing import cast

import open_clip
import pytest
import torch
import torch.nn.functional as F

from qdgs_lightning.domains.shapes.renderer import render_shapes, sample_poses
from qdgs_lightning.guidance import LatentAxes, PromptGuidance, PromptPair
from qdgs_lightning.guidance.clip import (
    SHAPES_CLIP,
    CLIPError,
    OpenCLIP,
    create_clip,
    image_statistics,
)
from qdgs_lightning.guidance.prompts import PromptError, spherical_distance
from qdgs_lightning.sampling import AugmentedGuidance
from qdgs_lightning.utils.precision import Precision, PrecisionError
from tests.toys import ToyGuidance


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


@pytest.mark.parametrize(
    ("precision", "mean", "most"), [("bfloat16", 4e-3, 6e-2), ("float16", 5e-4, 1e-2)]
)
def test_half_precision_moves_measures_by_a_little(
    precision: Precision, mean: float, most: float
) -> None:
    images, latents = _images(64), torch.zeros(64, 2)
    whole, half = _guidance(), _guidance(precision=precision)
    assert torch.equal(half.prompts, whole.prompts)
    moved = (half(images, latents).measures - whole(images, latents).measures).abs()
    assert mean / 20 < moved.mean() < mean
    assert moved.max() < most

    def gradient(guidance: PromptGuidance) -> torch.Tensor:
        image = _images(8).requires_grad_()
        judged = guidance(image, torch.zeros(8, 2)).measures
        assert judged.dtype == torch.float32
        return torch.autograd.grad(judged[:, 0].sum(), image)[0].flatten(1)

    assert F.cosine_similarity(gradient(half), gradient(whole)).mean() > 0.9
    difference = {"precision": precision}
    assert half.describe() == whole.describe() | difference != whole.describe()


def test_images_of_another_size_are_resized() -> None:
    guidance = _guidance()
    large = F.interpolate(_images(4), size=256, mode="bilinear", antialias=True)
    latents = torch.zeros(4, 2)
    small, resized = guidance(_images(4), latents), guidance(large, latents)
    assert (small.measures - resized.measures).abs().max() < 0.3
    assert torch.equal(small.measures > 0, resized.measures > 0)
    # Fine patterns are averaged, as CLIP's own transform does, and not sampled.
    noise = torch.rand(4, 3, 300, 300, generator=torch.Generator().manual_seed(0))
    shrunk = F.interpolate(noise, size=128, mode="bilinear", antialias=True)
    found, expected = guidance(noise, latents), guidance(shrunk, latents)
    torch.testing.assert_close(found.measures, expected.measures, atol=1e-4, rtol=0)


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


def test_cutouts_are_averaged_with_the_whole_image() -> None:
    images, latents = _images(3), torch.zeros(3, 2)
    plain = _guidance()
    views = [images]
    for size, x, y in torch.rand(2, 3, generator=torch.Generator().manual_seed(7)).tolist():
        cut = round(128 * (1 + size) / 2)
        left, top = round((128 - cut) * x), round((128 - cut) * y)
        views.append(images[:, :, top : top + cut, left : left + cut])
    expected = [plain(view, latents) for view in views]
    found = _guidance(cutouts=2, seed=7)(images, latents)
    for one, several in ((found.objective, 0), (found.measures, 1)):
        mean = torch.stack([judged[several] for judged in expected]).mean(dim=0)
        torch.testing.assert_close(one, mean, rtol=1e-4, atol=1e-3)
    assert (found.measures - expected[0].measures).abs().max() > 0.01


def test_a_memory_is_a_copy_of_what_was_handed_in() -> None:
    state = {"embeddings": F.normalize(torch.rand(2, 8), dim=1)}
    guidance = PromptGuidance(uniqueness_weight=0.2)
    guidance.load_memory_state(state)
    guidance.memory[0] = 0
    assert (state["embeddings"] != 0).all()
    guidance.memory_state()["embeddings"][1] = 0
    assert (guidance.memory[1] != 0).all()


def test_long_latents_cost_objective_by_the_square_of_the_excess() -> None:
    images = _images(2)
    latents = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    free = _guidance()(images, latents).objective
    costly = _guidance(norm_limit=2.0, norm_weight=0.1)(images, latents).objective
    assert (free - costly).tolist() == pytest.approx([50 * 0.1 * 9, 0], abs=1e-3)


def test_uniqueness_is_a_hundred_nearest_angles_over_the_size_of_the_memory() -> None:
    guidance = _guidance(uniqueness_weight=0.2).double()
    image = _images(1).double().requires_grad_()
    latent = torch.zeros(1, 2, dtype=torch.float64)
    plain = guidance(image, latent)
    # The embedding turned by known angles, in three directions across it.
    embedding = guidance.embed(image).detach()
    noise = torch.randn(3, embedding.shape[1], generator=torch.Generator().manual_seed(2))
    basis, _ = torch.linalg.qr(torch.cat([embedding, noise.double()]).T)
    angles = torch.tensor([[0.5], [0.2], [1.1]], dtype=torch.float64)
    known = angles.cos() * embedding + angles.sin() * basis.T[1:]
    guidance.load_memory_state({"embeddings": known})
    unique = guidance(image, latent)
    term = unique.objective - plain.objective
    assert term.item() == pytest.approx(-50 * 0.2 * (1 - 100 * 0.2 / 3), abs=1e-6)
    assert torch.equal(unique.measures, plain.measures)
    # The objective's slope has the way from the nearest in it.
    (slope,) = torch.autograd.grad(term, image)
    (away,) = torch.autograd.grad(spherical_distance(guidance.embed(image), known[1:2]), image)
    torch.testing.assert_close(slope, 50 * 0.2 * 100 / 3 * away)


def test_without_weight_or_memory_uniqueness_changes_no_bit() -> None:
    images, latents = _images(6), torch.zeros(6, 2)
    expected = _guidance(cutouts=1)(images, latents)
    without = _guidance(cutouts=1, uniqueness_weight=0.0)
    without.remember(images)
    forgetful = _guidance(cutouts=1, uniqueness_weight=0.2)
    forgetful.remember(images)
    forgetful.load_memory_state({})
    fresh = _guidance(cutouts=1, uniqueness_weight=0.2)
    assert [guidance.remembers for guidance in (without, forgetful, fresh)] == [False, True, True]
    for guidance in (without, forgetful, fresh):
        assert guidance.memory_state() == {}
        found = guidance(images, latents)
        assert torch.equal(found.objective, expected.objective)
        assert torch.equal(found.measures, expected.measures)
    numbers = {"uniqueness_weight": 0.2, "memory_size": 100}
    assert fresh.describe() == without.describe() | numbers


def test_memory_keeps_the_latest_images_and_is_changed_by_remembering_alone() -> None:
    guidance = _guidance(uniqueness_weight=0.2, memory_size=3)
    images, latents = _images(5), torch.zeros(5, 2)
    alone = torch.cat([guidance.embed(image[None]) for image in images]).detach()
    for n, image in enumerate(images, start=1):
        guidance.remember(image[None])
        (held,) = guidance.memory_state().values()
        assert torch.equal(held, alone[max(0, n - 3) : n])
        assert held.untyped_storage().nbytes() == held.nbytes
        assert not held.requires_grad
    first, again = guidance(images, latents).objective, guidance(images, latents).objective
    assert torch.equal(first, again)
    assert torch.equal(guidance.memory_state()["embeddings"], alone[2:])
    reversed_rows = guidance(images.flip(0), latents).objective.flip(0)
    assert reversed_rows.tolist() == pytest.approx(first.tolist(), abs=1e-2)
    # An image that is remembered costs the whole weight, one that is forgotten does not.
    terms = (first - _guidance()(images, latents).objective).tolist()
    assert terms[2:] == pytest.approx([-50 * 0.2] * 3, abs=0.5)
    assert min(terms[:2]) > -50 * 0.2 + 1
    other = _guidance(uniqueness_weight=0.2, memory_size=3)
    other.load_memory_state(guidance.memory_state())
    assert torch.equal(other(images, latents).objective, first)
    assert "memory" not in guidance.state_dict()


def test_ends_of_measures_are_the_prompts_also_through_wrappers() -> None:
    pairs = [
        PromptPair(name="skin", positive="A pale face.", negative="A dark face."),
        PromptPair(name="age", positive="A young face.", negative="An old face."),
    ]
    judge = PromptGuidance(measures=pairs)
    ends = (("A pale face.", "A dark face."), ("A young face.", "An old face."))
    assert judge.measure_ends() == ends
    assert LatentAxes(judge, axes=2).measure_ends() == (*ends, None, None)
    altered = AugmentedGuidance(judge, ["flip_vertical"])
    assert altered.measure_ends() == ends * 2
    assert len(altered.measure_ends()) == len(altered.measure_names)
    assert ToyGuidance().measure_ends() == (None, None)


def test_what_wraps_a_judge_remembers_through_it() -> None:
    judge = _guidance(uniqueness_weight=0.2)
    for wrapper in (LatentAxes(judge, axes=1), AugmentedGuidance(judge, ["flip_vertical"])):
        judge.load_memory_state({})
        assert wrapper.remembers
        assert wrapper.remember_above == judge.remember_above == 50
        wrapper.remember(_images(2))
        assert torch.equal(judge.memory, judge.embed(_images(2)))
        assert torch.equal(wrapper.memory_state()["embeddings"], judge.memory)
        wrapper.load_memory_state({"embeddings": judge.memory[:1]})
        assert len(judge.memory) == 1
    assert not LatentAxes(PromptGuidance(), axes=1).remembers


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"uniqueness_weight": -0.1}, "uniqueness_weight is -0.1"),
        ({"uniqueness_weight": math.nan}, "uniqueness_weight is nan"),
        ({"uniqueness_weight": 0.2, "memory_size": 0}, "memory_size is 0"),
    ],
)
def test_uniqueness_needs_a_weight_and_a_memory(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(PromptError, match=f"{complaint}: give"):
        PromptGuidance(**options)  # type: ignore[arg-type]


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


def test_a_file_gets_the_image_statistics_of_its_siblings_with_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.pt"
    torch.save(create_clip(SHAPES_CLIP, None).state_dict(), path)
    entries = {"a": {"mean": (0.5,) * 3, "std": (0.25,) * 3}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, SHAPES_CLIP, entries)
    _, mean, std = image_statistics(create_clip(SHAPES_CLIP, str(path)))
    assert mean.flatten().tolist() == [0.5] * 3
    assert std.flatten().tolist() == [0.25] * 3
    entries["b"] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    with pytest.warns(UserWarning, match="it gets the statistics of the tag 'a'"):
        create_clip(SHAPES_CLIP, str(path))


def test_tokenizers_that_need_more_say_so() -> None:
    with pytest.raises(CLIPError, match=r"tokenizer of ViT-B-16-SigLIP cannot be had"):
        _guidance(model="ViT-B-16-SigLIP", pretrained="webli")


def test_negative_cutouts_and_unknown_precisions_are_refused() -> None:
    with pytest.raises(PromptError, match="cutouts is -1"):
        PromptGuidance(cutouts=-1)
    with pytest.raises(PrecisionError, match="precision is 'fp16'; give one of float32"):
        PromptGuidance(precision="fp16")  # type: ignore[arg-type]


def test_weights_must_be_loaded_before_they_are_described() -> None:
    with pytest.raises(CLIPError, match=r"shapes_clip are not loaded yet; call prepare\(\) first"):
        PromptGuidance().describe()
