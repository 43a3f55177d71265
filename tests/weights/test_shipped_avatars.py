"""What the avatars' weights are good for; `make weights` asks the same of remade ones."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from qdgs_lightning.domains.avatars import AvatarReader
from qdgs_lightning.domains.avatars.audit import AvatarAnnotator
from qdgs_lightning.domains.avatars.dataset import (
    ATTRIBUTES,
    NORMALS,
    Population,
    attribute_labels,
    draw_latent_images,
)
from qdgs_lightning.domains.avatars.labelled import render_annotated_avatars
from qdgs_lightning.domains.avatars.renderer import render_avatars
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.guidance import PromptGuidance
from qdgs_lightning.guidance.prompts import FACE_MEASURES, FACE_OBJECTIVE
from qdgs_lightning.identities import FileEdits

UNSEEN = 987_654_321


@pytest.fixture(scope="module")
def generator() -> StyleGAN2Generator:
    generator = StyleGAN2Generator(Path("avatars_generator"))
    generator.prepare()
    return generator


@pytest.fixture(scope="module")
def reader() -> AvatarReader:
    return AvatarReader().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def guidance() -> PromptGuidance:
    guidance = PromptGuidance(
        objective=FACE_OBJECTIVE,
        measures=FACE_MEASURES,
        model="avatars_clip",
        pretrained="avatars_clip",
    )
    guidance.prepare()
    return guidance


def _read(reader: AvatarReader, images: Tensor) -> Tensor:
    return torch.cat([reader.labels(part) for part in torch.split(images, 100)])


def _people(n: int) -> tuple[Tensor, Tensor]:
    """Unbiased renders that no training has seen, and their attributes."""
    people = Population.even().sample(n, torch.Generator().manual_seed(UNSEEN))
    return render_avatars(people), attribute_labels(people)


def test_reader_is_right_on_renders_and_on_junk(reader: AvatarReader) -> None:
    images, labels = _people(1000)
    said = _read(reader, images)
    right = (said[:, :4] == labels).float().mean(dim=0)
    assert right.min() >= 0.97
    assert said[:, 4].float().mean() <= 0.01
    junk = render_annotated_avatars(400, torch.Generator().manual_seed(UNSEEN), junk=1.0)
    assert _read(reader, junk.images)[:, 4].float().mean() >= 0.93


def test_the_annotator_says_what_the_reader_does(reader: AvatarReader) -> None:
    annotator = AvatarAnnotator()
    annotator.prepare()
    annotated = render_annotated_avatars(100, torch.Generator().manual_seed(UNSEEN), junk=0.5)
    said, labels = _read(reader, annotated.images), annotator(annotated.images)
    junk = said[:, 4] == 1
    assert (labels[junk] == -1).all()
    assert torch.equal(labels[~junk], said[~junk, :4])
    assert [attribute.name for attribute in annotator.attributes] == list(ATTRIBUTES)


def test_clip_answers_the_published_face_prompts(guidance: PromptGuidance) -> None:
    images, labels = _people(1000)
    parts = [guidance(part, part.flatten(1)) for part in torch.split(images, 100)]
    measures = torch.cat([part.measures for part in parts])
    names = list(ATTRIBUTES)
    towards = {"skin": "dark", "gender": "masculine", "hair": "long", "age": "young"}
    for pair, values in zip(FACE_MEASURES, measures.unbind(1), strict=True):
        classes, label = ATTRIBUTES[pair.name], labels[:, names.index(pair.name)]
        either = (label == 0) | (label == len(classes) - 1)
        right = (values < 0) == (label == classes.index(towards[pair.name]))
        assert right[either].float().mean() >= 0.98, pair.name


def test_clip_prefers_clear_faces_to_junk(guidance: PromptGuidance) -> None:
    drawn = render_annotated_avatars(500, torch.Generator().manual_seed(UNSEEN), junk=0.4)
    parts = [guidance(part, part.flatten(1)) for part in torch.split(drawn.images, 100)]
    objective = torch.cat([part.objective for part in parts])
    clear = drawn.kinds == 0
    assert (objective[clear].unsqueeze(1) > objective[~clear]).float().mean() >= 0.98


def test_generator_draws_what_its_latents_stand_for(generator: StyleGAN2Generator) -> None:
    drawn = draw_latent_images(Population(), 200, torch.Generator().manual_seed(UNSEEN))
    network = generator.network
    ws = network.mapping(drawn.z)
    images = (network.synthesis(ws, "none") / 2 + 0.5).clamp(0, 1)
    error = images - drawn.images
    assert error.abs().mean() <= 0.03
    assert -10 * error.square().mean().log10() >= 25
    assert sum(weight.numel() for weight in network.parameters()) <= 2e6
    assert network.mapping.z_dim == NORMALS


def test_samples_have_the_shares_of_the_population(
    generator: StyleGAN2Generator, reader: AvatarReader
) -> None:
    latents = generator.sample_latents(1500, torch.Generator().manual_seed(UNSEEN))
    said = torch.cat([reader.labels(generator(part)) for part in torch.split(latents, 100)])
    assert said[:, 4].float().mean() <= 0.01
    for name, shares in (
        ("skin", Population().skin),
        ("gender", Population().gender),
        ("age", Population().age),
    ):
        column = said[:, list(ATTRIBUTES).index(name)]
        read = column.bincount(minlength=len(shares)) / len(column)
        # Of 6,000 samples, all are within 3 points; 1,500 are less sure.
        assert read.tolist() == pytest.approx(shares, abs=0.05), name


def test_images_change_smoothly_along_latents(generator: StyleGAN2Generator) -> None:
    latents = generator.sample_latents(40, torch.Generator().manual_seed(UNSEEN))
    steps = torch.linspace(0, 1, 33)[:, None, None]
    path = torch.lerp(latents[:20], latents[20:], steps)
    images = torch.stack([generator(latents) for latents in path])
    changes = images.diff(dim=0).abs().mean(dim=(2, 3, 4))
    whole = (images[-1] - images[0]).abs().mean(dim=(1, 2, 3))
    # A straight line would take a 32nd of the way in each step.
    assert (changes.amax(dim=0) <= 5 / 32 * whole).all()


def test_edits_change_the_view_and_leave_the_person(
    generator: StyleGAN2Generator, reader: AvatarReader
) -> None:
    edits = FileEdits(Path("avatars_edits")).rows(generator)
    assert edits.shape == (9, generator.network.synthesis.num_ws, NORMALS)
    assert (edits[0] == 0).all()
    latents = generator.layered(generator.sample_latents(60, torch.Generator().manual_seed(UNSEEN)))
    views = torch.stack([generator(latents + edit) for edit in edits], dim=1)
    said = _read(reader, views.flatten(0, 1)).reshape(60, 9, -1)
    assert (said[:, 1:, :4] == said[:, :1, :4]).float().mean() >= 0.93
    assert said[..., 4].float().mean() <= 0.04
    assert (views[:, 1:] - views[:, :1]).abs().mean(dim=(2, 3, 4)).min() > 0.01
