"""Images of every source, in the order of their names and with their units and weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from qdgs_lightning.audits import (
    AuditError,
    Elites,
    ImageSet,
    PriorSamples,
    PromptAnnotator,
    annotation_settings,
)
from qdgs_lightning.datasets import open_face_dataset
from qdgs_lightning.guidance import Evaluation
from qdgs_lightning.sampling import ArchiveSampler, MeasureBins
from qdgs_lightning.search import Archive, QDSearch, SearchConfig
from qdgs_lightning.utils.seeding import seeded_generator
from tests.datasets.face_sets import copied, image_file, photos
from tests.toys import ToyGenerator, ToyGuidance

CPU = torch.device("cpu")


def test_a_folder_of_identities(tmp_path: Path) -> None:
    root = photos(tmp_path / "faces", [2, 3])
    (root / "id00" / "wide.png").write_bytes(image_file("PNG", "RGB", side=40))
    images = ImageSet(root, units="folders").open(CPU)
    assert images.names == ["id00/000.jpg", "id00/001.jpg", "id00/wide.png"] + [
        f"id01/00{i}.jpg" for i in range(3)
    ]
    assert images.units.of.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.weights.tolist() == [1] * 6
    batches = list(images.batches(2))
    assert [tuple(batch.shape) for batch in batches] == [
        (2, 3, 24, 24),
        (1, 3, 40, 40),
        (2, 3, 24, 24),
        (1, 3, 24, 24),
    ]
    first = open_face_dataset(root)[0][0].float() / 255
    assert torch.equal(batches[0][0], first)


@pytest.mark.parametrize(("width", "height"), [(40, 24), (24, 41)])
def test_what_is_not_square_is_cropped_at_the_centre(
    tmp_path: Path, width: int, height: int
) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (batch,) = ImageSet(tmp_path, units="images").open(CPU).batches(2)
    top, left = (height - 24) // 2, (width - 24) // 2
    expected = pixels[top : top + 24, left : left + 24].transpose(2, 0, 1)
    assert batch[0].mul(255).round().to(torch.uint8).numpy().tolist() == expected.tolist()


def test_batches_go_on_from_any_image(tmp_path: Path) -> None:
    """An audit that was stopped begins in the middle, with batches of its own."""
    source = ImageSet(photos(tmp_path / "faces", [3, 4]), units="folders")
    prior = PriorSamples(generator=ToyGenerator(), n=7, seed=2)
    for images in (source.open(CPU), prior.open(CPU)):
        whole = torch.cat(list(images.batches(3)))
        assert len(images) == len(images.names) == len(whole) == 7
        for start, size in ((0, 7), (2, 3), (6, 5)):
            parts = list(images.batches(size, start))
            torch.testing.assert_close(torch.cat(parts), whole[start:])
            assert all(len(part) <= size for part in parts)
        assert list(images.batches(3, 7)) == []


def test_records_and_a_sample_of_them(tmp_path: Path) -> None:
    root = copied(tmp_path / "set")
    source = ImageSet(root, sample=5, seed=3, name="part")
    images = source.open(CPU)
    whole = open_face_dataset(root)
    keys = [str(key) for key in whole.keys.tolist()]  # type: ignore[union-attr]
    rows = [keys.index(name) for name in images.names]
    assert rows == sorted(rows)
    assert len(set(rows)) == 5
    loaded = torch.cat(list(images.batches(4)))
    assert torch.equal(loaded, torch.stack([whole[row][0] for row in rows]).float() / 255)
    same = whole.labels[rows]
    units = images.units.of
    assert torch.equal(units[:, None] == units, same[:, None] == same)
    assert len(images.units) == len(set(same.tolist()))
    assert ImageSet(root, sample=5, seed=4).open(CPU).names != images.names
    with pytest.raises(AuditError, match=r"sample of .* is 0"):
        ImageSet(root, sample=0)


def test_prior_samples_are_those_of_the_seed() -> None:
    source = PriorSamples(generator=ToyGenerator(), n=7, seed=2)
    images = source.open(CPU)
    latents = ToyGenerator().sample_latents(7, seeded_generator(2))
    drawn = torch.cat(list(images.batches(3)))
    torch.testing.assert_close(drawn, ToyGenerator()(latents).detach())
    assert images.units.of.tolist() == list(range(7))
    with pytest.raises(AuditError, match="n of 'prior' is 0"):
        PriorSamples(generator=ToyGenerator(), n=0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "archive.safetensors"
    config = SearchConfig(grid=(8, 8), algorithm="random", calibration=100)
    search = QDSearch(ToyGenerator(), ToyGuidance(), config)
    search.run(400)
    search.archive.save(path)
    return path


def test_elites_once_each(archive: Path) -> None:
    images = Elites(archive=archive, generator=ToyGenerator()).open(CPU)
    elites = Archive.load(archive)
    drawn = torch.cat(list(images.batches(9)))
    torch.testing.assert_close(drawn, ToyGenerator()(elites.latents).detach())
    assert images.archive is not None
    assert torch.equal(images.weights, torch.ones(len(elites), dtype=torch.float64))


class _Loading(ToyGuidance):
    """Judges nothing before it is prepared, as guidance that loads its weights then."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False

    def prepare(self) -> None:
        self.loaded = True
        super().prepare()

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        assert self.loaded
        return super().forward(images, latents)


class _LoadingGenerator(ToyGenerator):
    """Draws nothing before it is prepared."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False

    def fingerprint(self) -> str:
        assert self.loaded
        return ToyGenerator().fingerprint()

    def prepare(self) -> None:
        self.loaded = True
        super().prepare()

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        assert self.loaded
        return super().sample_latents(n, generator)


def test_what_draws_images_is_prepared_first(archive: Path) -> None:
    elites = Elites(archive=archive, generator=_LoadingGenerator()).open(CPU)
    assert len(list(elites.batches(len(elites)))) == 1
    assert len(PriorSamples(generator=_LoadingGenerator(), n=3).open(CPU)) == 3


def test_what_labels_latents_is_prepared_first(archive: Path) -> None:
    sampler = ArchiveSampler(bins=[MeasureBins(measure=0, intervals=[(0, 0.5), (0.5, 1)])])
    source = Elites(
        archive=archive, generator=ToyGenerator(), sampler=sampler, guidance=_Loading(), n=20
    )
    assert float(source.open(CPU).weights.sum()) == 20


def test_elites_as_often_as_they_are_drawn(archive: Path) -> None:
    sampler = ArchiveSampler(
        bins=[MeasureBins(measure=0, intervals=[(0, 0.4), (0.6, 1)], names=["dim", "red"])],
        max_repeats=200,
        proportions={"dim": 0.25, "red": 0.75},
    )
    source = Elites(
        archive=archive, generator=ToyGenerator(), sampler=sampler, guidance=ToyGuidance(), n=400
    )
    images = source.open(CPU)
    red = torch.cat(list(images.batches(50))).mean(dim=(2, 3))[:, 0] >= 0.6
    assert float(images.weights.sum()) == 400
    assert float(images.weights[red].sum()) == 300
    assert len(images) < 400
    with pytest.raises(AuditError, match="labels latents by `guidance`"):
        Elites(archive=archive, generator=ToyGenerator(), sampler=sampler)


def test_a_source_says_how_its_images_are_drawn(archive: Path, tmp_path: Path) -> None:
    """Two that draw other images, or as many of them as they like, are not described alike."""
    bins = [MeasureBins(measure=0, intervals=[(0, 0.4), (0.6, 1)], names=["dim", "red"])]

    def elites(**options: Any) -> dict[str, object]:
        sampler = ArchiveSampler(bins=bins, **options)
        return Elites(
            archive=archive, generator=ToyGenerator(), sampler=sampler, guidance=ToyGuidance()
        ).describe()

    said = [
        elites(),
        elites(proportions={"dim": 0.9, "red": 0.1}),
        elites(proportions={"dim": 0.1, "red": 0.9}),
        elites(even_over="cells"),
        elites(max_repeats=3),
        ImageSet(tmp_path, sample=5).describe(),
        ImageSet(tmp_path, sample=5, seed=1).describe(),
        ImageSet(tmp_path).describe(),
    ]
    assert len({json.dumps(each, sort_keys=True) for each in said}) == len(said)
    assert ImageSet(tmp_path, seed=1).describe() == said[-1]  # nothing is drawn


def test_an_unfinished_audit_is_of_one_way_to_draw(archive: Path) -> None:
    """Both quotas draw every candidate, the one more often the dim and the other the red."""
    bins = [MeasureBins(measure=0, intervals=[(0, 0.4), (0.6, 1)], names=["dim", "red"])]
    annotator = PromptAnnotator(guidance=ToyGuidance(), bins=bins)
    settings = []
    for dim in (0.3, 0.7):
        source = Elites(
            archive=archive,
            generator=ToyGenerator(),
            sampler=ArchiveSampler(
                bins=bins, max_repeats=200, proportions={"dim": dim, "red": 1 - dim}
            ),
            guidance=ToyGuidance(),
            n=400,
        )
        images = source.open(CPU)
        settings.append(annotation_settings(source, images, annotator, device=CPU))
    assert [key for key in settings[0] if settings[0][key] != settings[1][key]] == ["source"]


def test_an_archive_of_another_generator_is_refused(archive: Path) -> None:
    with pytest.raises(AuditError, match="bring an archive of its own"):
        Elites(archive=archive, generator=ToyGenerator(seed=1)).open(CPU)
