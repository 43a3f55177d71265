"""``qdgs export``: what it writes, against the images by their definition."""

import csv
import json
import os
import subprocess
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from qdgs_lightning.cli.main import main
from qdgs_lightning.datamodules.synthetic_faces import SyntheticFaceDataModule
from qdgs_lightning.datasets import FaceFolderDataset, RecordIODataset
from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.search import Archive
from tests.audits.identity_data import NoiseGenerator, NoiseIdentities
from tests.export.export_words import card, data, sampler, tree, write_archive, write_config
from tests.toys import ToyGuidance

SMALL = {"identities": 12, "align": "none", "image_size": 16, "num_workers": 0}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("run"))


@pytest.fixture
def words(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, in a folder that holds its configuration alone."""
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, archive=archive)


def expected(source: NoiseIdentities) -> dict[int, list[Tensor]]:
    """The images of every class by the definition of image numbers, uint8."""
    table, found, generator = source.identities(), {}, NoiseGenerator()
    for identity in sorted(set(table.classes.tolist())):
        found[identity] = [
            (generator(table.latents[row] + 0.1 * edit)[0] * 255).round().to(torch.uint8)
            for row in (table.classes == identity).nonzero()[:, 0].tolist()
            for edit in range(source.edits)
        ]
    return found


def test_folder_holds_every_image_in_the_folder_of_its_class(
    words: list[str], archive: Path
) -> None:
    step = ["--data.init_args.step", "7"]
    main([*words, *step, "--output", "faces", "--image_format", "png"])
    truth = expected(data(archive, step=7))
    assert len(truth) > 10
    width = len(str(max(truth)))
    images = {
        f"{identity:0{width}}/{number}.png": image
        for identity, of_it in truth.items()
        for number, image in enumerate(of_it)
    }
    found = {name: content for name, content in tree(Path("faces")).items() if "/" in name}
    assert found.keys() == images.keys()
    for name, content in found.items():
        assert torch.equal(decode_rgb(content), images[name]), name
    dataset = FaceFolderDataset("faces")
    assert (len(dataset), dataset.num_classes) == (len(images), len(truth))
    assert sorted(os.listdir()) == ["config.yaml", "faces"]  # nothing else is left


def test_records_are_insightfaces_with_labels_from_zero_on(words: list[str], archive: Path) -> None:
    words += ["--data.init_args.step", "7", "--output", "faces", "--format", "rec"]
    main([*words, "--image_format", "png"])
    truth = expected(data(archive, step=7))
    dataset = RecordIODataset("faces")
    assert dataset.has_metadata
    assert dataset.num_classes == len(truth)
    images = [(image, label) for label, of_it in enumerate(truth.values()) for image in of_it]
    assert len(dataset) == len(images)
    for (image, label), (true_image, true_label) in zip(dataset, images, strict=True):  # type: ignore[call-overload]
        assert label == true_label
        assert torch.equal(image, true_image)
    assert Path("faces/property").read_text() == f"{len(truth)},16,16\n"
    assert card(Path("faces"))["labels"]["class_of_label"] == list(truth)


def test_webdataset_has_three_members_of_every_image(words: list[str], archive: Path) -> None:
    words += ["--output", "faces", "--format", "webdataset", "--image_format", "png"]
    main(words)
    source = data(archive)
    truth, table = expected(source), source.identities()
    shards = sorted(Path("faces").glob("*.tar"))
    total = sum(len(of_it) for of_it in truth.values())
    names = [f"{n:06d}.tar" for n in range(-(-total // 50))]
    assert [path.name for path in shards] == names
    members: dict[str, bytes] = {}
    order = []
    for number, path in enumerate(shards):
        assert b"ustar\x0000" in path.read_bytes()[:512]  # POSIX, not GNU
        with tarfile.open(path) as file:
            infos = file.getmembers()
            assert len(infos) == 3 * (50 if number + 1 < len(shards) else total - 50 * number)
            for info in infos:
                assert (info.mtime, info.uid, info.gid, info.mode) == (0, 0, 0, 0o644)
                content = file.extractfile(info)
                assert content is not None
                members[info.name] = content.read()
            # Readers take members of one key for one sample only if they follow one another.
            keys = [info.name.partition(".")[0] for info in infos]
            assert keys[::3] == keys[1::3] == keys[2::3]
            order += [int(key.partition("_")[0]) for key in keys[::3]]
    assert len(members) == 3 * total
    assert sum(a == b for a, b in pairwise(order)) < total / 4  # mixed
    width = len(str(max(truth)))
    for identity, of_it in truth.items():
        index = int(table.bins[table.classes == identity][0])
        for number, image in enumerate(of_it):
            key = f"{identity:0{width}}_{number}"
            assert torch.equal(decode_rgb(members[f"{key}.png"]), image)
            assert members[f"{key}.cls"] == str(identity).encode()
            assert json.loads(members[f"{key}.json"]) == {
                "identity": identity,
                "image": number,
                "bin": index,
                "bin_name": ("pale", "red")[index],
            }


def test_the_card_says_what_can_be_counted_and_read(words: list[str], archive: Path) -> None:
    licence = "CC BY-NC 4.0 | as the generator's"
    main([*words, "--output", "faces", "--licence", licence])
    source, elites, facts = data(archive), Archive.load(archive), card(Path("faces"))
    table = source.identities()
    assert facts["images"] == len(list(Path("faces").glob("*/*.jpg"))) == source.num_images
    assert facts["identities"] == len(set(table.classes.tolist()))
    for index, row in enumerate(facts["bins"]):
        inside = table.bins == index
        assert row == {
            "name": ("pale", "red")[index],
            "identities": int(inside.sum()) // 2,
            "images": int(inside.sum()) * 3,
        }
    assert facts["images_per_identity"] == {"fewest": 6, "most": 6, "mean": 6.0, "per_latent": 3}
    assert facts["archive"]["elites"] == len(elites)
    assert facts["archive"]["coverage"] == pytest.approx(len(elites) / 81, abs=1e-6)
    assert facts["archive"]["coverage"] < facts["archive"]["coverage_of_bins"] <= 1
    assert facts["archive"]["qd_score"] == pytest.approx(float(elites.objective.sum()), rel=1e-5)
    assert (facts["archive"]["algorithm"], facts["archive"]["seed"]) == ("map_elites", 0)
    sha = subprocess.run(["sha256sum", archive], capture_output=True, text=True, check=True)
    assert facts["archive"]["sha256"] == sha.stdout.split()[0]
    assert facts["generator"] == {
        "fingerprint": NoiseGenerator().fingerprint(),
        "weights": [{"name": "noise-weights"}],
    }
    assert facts["guidance"] == {"toy": "a toy", "measures": ["red", "green"]}
    assert facts["sampler"]["bins"][0]["intervals"] == [["-inf", 0.5], [0.5, "inf"]]
    assert facts["sampler"]["even_over"] == "bins"  # how it draws is not to be seen otherwise
    assert facts["sampler"]["proportions"] is None
    assert facts["image"]["quality"] == 95
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert facts["licence"] == licence
    page = Path("faces/README.md").read_text()
    for text in (licence, "a toy", elites.metadata.generator, "QD-score", "a model's guesses"):
        assert text.lower() in page.lower().replace("qd score", "qd-score"), text
    assert str(Path.cwd()) not in page + json.dumps(facts)  # it is about the set, not the machine
    with Path("faces/identities.csv").open() as file:
        rows = list(csv.DictReader(file))
    of_class = dict(zip(table.classes.tolist(), table.bins.tolist(), strict=True))
    assert [
        (int(row["class"]), int(row["label"]), int(row["bin"]), row["bin_name"], row["images"])
        for row in rows
    ] == [
        (identity, label, index, ("pale", "red")[index], "6")
        for label, (identity, index) in enumerate(sorted(of_class.items()))
    ]
    classes = sorted(of_class)
    labels = {"lowest_class": classes[0], "highest_class": classes[-1]}
    assert facts["labels"] == labels | {"gaps": classes[-1] + 1 - len(classes)}
    assert (facts["image"]["height"], facts["image"]["width"]) == (16, 16)


def test_a_licence_that_is_not_stated_is_said_so(words: list[str]) -> None:
    main([*words, "--output", "faces", "--data.init_args.identities", "2"])
    assert card(Path("faces"))["licence"].startswith("not stated: images inherit the terms")


def test_identities_of_synthetic_faces_keep_the_classes_of_a_checkpoint(
    words: list[str], archive: Path
) -> None:
    content = yaml.safe_load(Path("config.yaml").read_text())
    generator = {"class_path": "tests.audits.identity_data.NoiseGenerator"}
    content["data"] = {
        "class_path": "SyntheticFaceDataModule",
        "init_args": {
            "generator": generator,
            "guidance": {"class_path": "tests.toys.ToyGuidance"},
            "sampler": content["data"]["init_args"]["sampler"],
            **SMALL,
        },
    }
    Path("config.yaml").write_text(yaml.safe_dump(content))
    source = SyntheticFaceDataModule(
        generator=NoiseGenerator(),
        guidance=ToyGuidance(),
        sampler=sampler(),
        **SMALL,  # type: ignore[arg-type]
    )
    # A fit began with half of the elites, and was refreshed: some identities lost a latent.
    elites = Archive.load(archive)
    half = {
        name: getattr(elites, name)[::2] for name in ("latents", "objective", "measures", "cell")
    }
    source.set_archive(Archive(**half, metadata=elites.metadata))
    first = source.identities()
    some = {name: getattr(elites, name)[5:] for name in half}
    Archive(**some, metadata=elites.metadata).save("refreshed.safetensors")
    source.set_archive(Archive.load("refreshed.safetensors"))
    table = source.identities()
    assert set(first.classes.tolist()) - set(table.classes.tolist())  # so that there are gaps
    torch.save({"SyntheticFaceDataModule": source.state_dict()}, "last.ckpt")
    words[words.index(str(archive))] = "refreshed.safetensors"
    main([*words, "--output", "faces", "--image_format", "png", "--checkpoint", "last.ckpt"])
    width = len(str(int(table.classes.max())))
    images: dict[str, Tensor] = {}
    numbers: dict[int, int] = {}
    for row, identity in enumerate(table.classes.tolist()):
        numbers[identity] = numbers.get(identity, -1) + 1
        name = f"{identity:0{width}}/{numbers[identity]}.png"
        image = source.generator(table.latents[row])[0]  # type: ignore[misc]
        images[name] = (image * 255).round().to(torch.uint8)
    found = {name: content for name, content in tree(Path("faces")).items() if "/" in name}
    assert found.keys() == images.keys()
    for name, content in found.items():
        assert torch.equal(decode_rgb(content), images[name]), name
    facts = card(Path("faces"))
    assert facts["labels"]["gaps"] == int(table.classes.max()) + 1 - len(numbers) > 0
    assert facts["drawing"]["latents_per_identity"] == 2
