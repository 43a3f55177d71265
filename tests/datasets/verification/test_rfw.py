"""RFW from a tree like the authors', aligned by its landmarks, and from ``.bin`` files."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qdgs_lightning.datasets import VerificationDataError, load_rfw
from qdgs_lightning.datasets.alignment import align_face
from qdgs_lightning.datasets.similarity import ARCFACE_POINTS
from tests.datasets.pictures import BY_OTHERS, made

RACES = ("African", "Asian", "Caucasian", "Indian")
# Two people with two images, each with landmarks of its own.
LANDMARKS = {
    name: (torch.tensor(ARCFACE_POINTS) * scale + shift).round(decimals=3)
    for name, scale, shift in (
        ("m.01/m.01_0001.jpg", 1.0, 5.0),
        ("m.01/m.01_0002.jpg", 0.5, 20.0),
        ("m.02/m.02_0001.jpg", 1.4, -9.0),
        ("m.02/m.02_0002.jpg", 0.8, 60.0),
    )
}
PAIRS = ("m.01\t1\t2", "m.01\t2\tm.02\t1", "m.02\t1\t2", "m.02\t2\tm.01\t1")


def tree(root: Path, races: tuple[str, ...] = RACES) -> Path:
    """Write data and lists of some groups."""
    for race in races:
        for name in LANDMARKS:
            path = root / "data" / race / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(BY_OTHERS / "scene.jpg", path)
        texts = root / "txts" / race
        texts.mkdir(parents=True)
        texts.joinpath(f"{race}_pairs.txt").write_text("\n".join(PAIRS) + "\n")
        lines = [
            "\t".join([f"/home/them/{race}/{name}", "0", *map(str, points.flatten().tolist())])
            for name, points in LANDMARKS.items()
        ]
        texts.joinpath(f"{race}_lmk.txt").write_text("\n".join(lines) + "\n")
    return root


def aligned(name: str) -> Tensor:
    return align_face(made("scene.jpg"), LANDMARKS[name])


@pytest.mark.parametrize("above", [".", "test", "images/test"])
def test_faces_are_aligned_and_paired(tmp_path: Path, above: str) -> None:
    tree(tmp_path / above)
    sets = load_rfw(tmp_path)
    assert list(sets) == ["rfw_african", "rfw_asian", "rfw_caucasian", "rfw_indian"]
    for name, pairs in sets.items():
        assert pairs.name == name
        assert len(pairs) == 4
        assert pairs.pairs.tolist() == [[0, 1], [1, 2], [2, 3], [3, 0]]
        assert pairs.is_same.tolist() == [True, False, True, False]
        for index, file in enumerate(LANDMARKS):
            assert torch.equal(pairs[index][0], aligned(file))


def test_another_size_is_aligned_to_it(tmp_path: Path) -> None:
    pairs = load_rfw(tree(tmp_path), races=["Asian"], image_size=224)["rfw_asian"]
    points = LANDMARKS["m.01/m.01_0001.jpg"]
    assert torch.equal(pairs[0][0], align_face(made("scene.jpg"), points, size=224))


@pytest.mark.parametrize("pattern", ["{}_test.bin", "rfw_{lower}.bin", "bin_for_mxnet/{}_test.bin"])
def test_files_of_the_same_groups(tmp_path: Path, pattern: str) -> None:
    for race in RACES[1:]:
        path = tmp_path / pattern.format(race, lower=race.lower())
        path.parent.mkdir(exist_ok=True)
        shutil.copy(BY_OTHERS / "python2.bin", path)
    sets = load_rfw(tmp_path, races=RACES[1:])
    assert [pairs.name for pairs in sets.values()] == list(sets)
    assert all(len(pairs) == 4 for pairs in sets.values())
    with pytest.raises(VerificationDataError, match=r"has neither .*African"):
        load_rfw(tmp_path)


def test_only_what_is_asked_for_must_be_there(tmp_path: Path) -> None:
    tree(tmp_path, ("Indian",))
    assert list(load_rfw(tmp_path, races=["Indian"])) == ["rfw_indian"]
    with pytest.raises(VerificationDataError, match="races has 'indian'; give some of African"):
        load_rfw(tmp_path, races=["indian"])


def test_absent_images_and_landmarks_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path, ("Asian",))
    landmarks = root / "txts" / "Asian" / "Asian_lmk.txt"
    lines = landmarks.read_text().splitlines()
    landmarks.write_text("\n".join(lines[:2]))
    with pytest.raises(
        VerificationDataError, match=r"no landmarks for 2 images .* such as m\.02/m\.02_0001\.jpg"
    ):
        load_rfw(root, races=["Asian"])
    (root / "data" / "Asian" / "m.01" / "m.01_0002.jpg").unlink()
    with pytest.raises(VerificationDataError, match=r"names 1 images .* m\.01/m\.01_0002"):
        load_rfw(root, races=["Asian"])
    landmarks.unlink()
    shutil.copy(BY_OTHERS / "scene.jpg", root / "data" / "Asian" / "m.01" / "m.01_0002.jpg")
    with pytest.raises(VerificationDataError, match=r"Asian_lmk\.txt cannot be read"):
        load_rfw(root, races=["Asian"])


@pytest.mark.parametrize("line", ["a/b.jpg 0 1 2 3", "a/b.jpg 0" + " 1" * 9 + " x", "a/b.jpg"])
def test_damaged_landmarks(tmp_path: Path, line: str) -> None:
    root = tree(tmp_path, ("Asian",))
    with (root / "txts" / "Asian" / "Asian_lmk.txt").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(VerificationDataError, match=r"Line 6 of .*Asian_lmk\.txt is not a path"):
        load_rfw(root, races=["Asian"])


def test_landmarks_at_one_place_name_the_image(tmp_path: Path) -> None:
    root = tree(tmp_path, ("Asian",))
    path = root / "txts" / "Asian" / "Asian_lmk.txt"
    lines = path.read_text().splitlines()
    lines[2] = "\t".join([*lines[2].split("\t")[:2], *["7"] * 10])
    path.write_text("\n".join(lines))
    pairs = load_rfw(root, races=["Asian"])["rfw_asian"]
    assert pairs[1][0].shape == (3, 112, 112)
    with pytest.raises(
        VerificationDataError, match=r"Image 2 of rfw_asian, .*m\.02_0001\.jpg, .*at one place"
    ):
        pairs[2]
