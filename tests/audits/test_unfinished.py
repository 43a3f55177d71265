"""What was said of images outlives a stop, and is of use to the same audit alone."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qdgs_lightning.audits import (
    AuditError,
    ImageSet,
    PriorSamples,
    PromptAnnotator,
    UnfinishedAnnotations,
    annotation_settings,
)
from qdgs_lightning.sampling import MeasureBins
from tests.datasets.face_sets import image_file, photos
from tests.toys import ToyGenerator, ToyGuidance

CPU = torch.device("cpu")
BINS = [MeasureBins(measure=0, intervals=[(0, 0.5), (0.5, 1)], names=["dim", "red"])]
SETTINGS = {"device": "cpu", "annotator": {"bins": [(0, float("inf"))]}, "probe": [[1.0, 2.0, 3.0]]}
LABELS = torch.tensor([[0, 1], [2, -1]])
MEASURES = torch.tensor([[0.1], [1 / 3]])


def test_every_batch_is_on_the_disk_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "out" / "unfinished.safetensors"
    first = UnfinishedAnnotations(path, SETTINGS, save_every_seconds=0)
    assert len(first) == 0
    first.save()
    assert not path.parent.exists()  # there is nothing to keep
    first.append(LABELS, MEASURES)
    second = UnfinishedAnnotations(path, SETTINGS, save_every_seconds=1e9)
    assert len(second) == 2
    second.append(LABELS[:1], MEASURES[:1])
    assert len(UnfinishedAnnotations(path, SETTINGS)) == 2
    second.save()
    labels, measures = UnfinishedAnnotations(path, SETTINGS).result()
    assert torch.equal(labels, LABELS[[0, 1, 0]])
    assert torch.equal(measures, MEASURES[[0, 1, 0]])
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("device", "cuda", "device=cpu, not cuda"),
        ("annotator", {"bins": [[0, 1]]}, "another annotator"),
        ("probe", [[1.0, 2.0, 4.5]], "other images of the same names"),
        ("probe", [[1.0, 2.0, 3.0]] * 2, "other images of the same names"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, name: str, value: object, named: str) -> None:
    path = tmp_path / "unfinished.safetensors"
    UnfinishedAnnotations(path, SETTINGS, save_every_seconds=0).append(LABELS, MEASURES)
    content = path.read_bytes()
    with pytest.raises(AuditError, match=named):
        UnfinishedAnnotations(path, {**SETTINGS, name: value})
    assert path.read_bytes() == content
    rounded = {**SETTINGS, "probe": [[1.0, 2.5, 3.0]]}
    assert len(UnfinishedAnnotations(path, rounded)) == 2


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "unfinished.safetensors"
    UnfinishedAnnotations(path, SETTINGS, save_every_seconds=0).append(LABELS, MEASURES)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(AuditError, match="is damaged; remove it"):
        UnfinishedAnnotations(path, SETTINGS)


def test_settings_are_those_of_the_same_images_alone(tmp_path: Path) -> None:
    annotator = PromptAnnotator(guidance=ToyGuidance(), bins=BINS)

    def of(source: ImageSet | PriorSamples) -> str:
        images = source.open(CPU)
        return json.dumps(
            annotation_settings(source, images, annotator, device=CPU), sort_keys=True
        )

    root = photos(tmp_path / "faces", [2, 1])
    settings = [
        of(ImageSet(root, units="images")),
        of(ImageSet(root, units="images", sample=2)),
        of(ImageSet(root, units="images", sample=1)),
    ]
    assert of(ImageSet(root, units="images")) == settings[0]
    (root / "id01" / "000.jpg").write_bytes(image_file("JPEG", "RGB", side=24))
    settings.append(of(ImageSet(root, units="images")))
    (root / "id01" / "000.jpg").rename(root / "id01" / "001.jpg")
    settings.append(of(ImageSet(root, units="images")))
    for generator, seed in ((ToyGenerator(), 0), (ToyGenerator(), 1), (ToyGenerator(seed=1), 0)):
        settings.append(of(PriorSamples(generator=generator, n=20, seed=seed)))
    assert len(set(settings)) == len(settings)


def test_images_go_on_in_the_same_batches(tmp_path: Path) -> None:
    root = photos(tmp_path / "faces", [2, 3])
    (root / "id00" / "wide.png").write_bytes(image_file("PNG", "RGB", side=40))
    for source in (ImageSet(root, units="images"), PriorSamples(generator=ToyGenerator(), n=7)):
        images = source.open(CPU)
        batches = list(images.batches(2))
        start = 0
        for place, batch in enumerate(batches):
            rest = list(images.batches(2, start))
            assert all(map(torch.equal, rest, batches[place:]))
            assert len(rest) == len(batches) - place
            start += len(batch)
        assert list(images.batches(2, start)) == []


def test_latents_that_no_probe_looks_at_count() -> None:
    """Elites are described by their file and called by their places, and a file changes."""
    latents = [torch.zeros(40, 6), torch.zeros(40, 6)]
    latents[1][1] = 1

    class Fixed(ToyGenerator):
        def __init__(self, content: Tensor) -> None:
            super().__init__()
            self.content = content

        def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
            return self.content

    annotator = PromptAnnotator(guidance=ToyGuidance(), bins=BINS)
    settings = []
    for each in latents:
        source = PriorSamples(generator=Fixed(each), n=40)
        images = source.open(CPU)
        settings.append(annotation_settings(source, images, annotator, device=CPU))
    assert [name for name in settings[0] if settings[0][name] != settings[1][name]] == ["images"]
