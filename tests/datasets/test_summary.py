"""``qdgs data inspect``: what it says of sets that were made for it."""

import pickle
import re
from pathlib import Path

import pytest
import torch

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets.records.packing import encode_jpeg
from qdgs_lightning.datasets.summary import spread
from qdgs_lightning.datasets.verification.convert import describe_pairs
from tests.datasets.face_sets import complaint, copied, image_file, photos

Capture = pytest.CaptureFixture[str]


def told_of(capsys: Capture, *words: object) -> dict[str, str]:
    """What is said, by name."""
    main(["data", "inspect", *map(str, words)])
    lines = capsys.readouterr().out.splitlines()[1:]
    told = (line.strip().split("  ", 1) for line in lines)
    return {name: value.strip() for name, value in told}


def test_a_set_of_insightface_s_layout(tmp_path: Path, capsys: Capture) -> None:
    root = copied(tmp_path / "set")
    told = told_of(capsys, "--path", root)
    assert told["images"] == "9"
    assert told["identities"] == "3"
    assert told["images each"] == "2 to 4, median 3"
    assert "record 0 describes the identities" in told["layout"]
    assert told["labels"] == "5 scalars, 4 vectors of 2"
    assert told["index"] == "whole, 13 keys"
    assert told["property"] == "3,16,16"
    assert told["size"] == f"{(root / 'train.rec').stat().st_size:,} bytes"
    assert told["9 looked at"] == "JPEG RGB 16 x 16"


def test_a_set_without_metadata_index_and_property(tmp_path: Path, capsys: Capture) -> None:
    root = copied(tmp_path / "set", "plain")
    (root / "train.idx").unlink()
    told = told_of(capsys, "--path", root / "train.rec")
    assert told["layout"] == "images only"
    assert told["labels"] == "scalars"
    assert told["index"] == "was missing; made now and kept"
    assert told["property"] == "none"


@pytest.mark.filterwarnings("error")
def test_an_index_of_another_file_is_told(tmp_path: Path, capsys: Capture) -> None:
    root = copied(tmp_path / "set")
    (root / "train.idx").write_text((copied(tmp_path / "b", "plain") / "train.idx").read_text())
    told = told_of(capsys, "--path", root)
    assert told["index"].startswith("not used (")
    assert "is of another file" in told["index"]
    assert told["images"] == "9"


def test_a_folder_with_grey_and_bad_images(tmp_path: Path, capsys: Capture) -> None:
    root = photos(tmp_path / "photos", [1, 1, 6], side=16)
    (root / "id02" / "001.jpg").write_bytes(image_file("JPEG", "L"))
    (root / "id02" / "002.jpg").write_bytes(b"")
    told = told_of(capsys, "--path", root)
    assert told["images each"] == "1 to 6, median 1, 2 with a single image"
    looked = told["8 looked at"]
    assert "6 JPEG RGB 16 x 16" in looked
    assert "1 JPEG grey 16 x 16" in looked
    assert "1 bad (see qdgs data verify)" in looked
    assert "property" not in told


@pytest.mark.parametrize(
    ("colour", "warned"),
    [((150, 110, 90), False), ((90, 110, 150), True), ((100, 100, 104), False)],
)
def test_swapped_channels_are_warned_of(
    tmp_path: Path, capsys: Capture, colour: tuple[int, int, int], warned: bool
) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    image = torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, 16, 16)
    (tmp_path / "photos" / "a" / "a.jpg").write_bytes(encode_jpeg(image))
    told = told_of(capsys, "--path", tmp_path / "photos")
    found = [int(number) for number in re.findall(r"\d+", told["mean colour"])[:3]]
    assert found == pytest.approx(list(colour), abs=3)
    assert ("warning" in told) == warned


def test_a_benchmark(tmp_path: Path, capsys: Capture) -> None:
    files = [image_file("JPEG", "RGB", side=8 + n) for n in range(4)]
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps(([files[n % 4] for n in range(40)], [True, False] * 10)))
    told = told_of(capsys, "--path", path, "--sample", 2)
    assert told["images"] == "4 different ones"
    assert told["pairs"] == "20, 10 of one person and 10 of two"
    assert told["folds"] == "each of 10 has 1 pairs of one person and 1 of two"
    assert told["2 looked at"] == "1 JPEG RGB 8 x 8, 1 JPEG RGB 11 x 11"


@pytest.mark.parametrize(
    ("is_same", "expected"),
    [
        ([True] * 10 + [False] * 90, "10 of 10 have one kind of pairs, so that accuracy means"),
        ([True, False] * 4, "no accuracy: 8 pairs are too few for 10 folds"),
        ([False] * 12, "no accuracy: all 12 pairs are of two people"),
        ([True, True, False] + [True, False, False] * 9, "each of 10 has 1 to 2 pairs of one"),
        ([True, False] * 30, "each of 10 has 3 pairs of one person and 3 of two"),
    ],
)
def test_folds(is_same: list[bool], expected: str) -> None:
    assert expected in dict(describe_pairs(torch.tensor(is_same)))["folds"]


def test_samples_are_spread_over_the_set() -> None:
    assert spread(3, 10) == [0, 1, 2]
    assert spread(100, 3) == [0, 49, 99]


def test_what_cannot_be_inspected(tmp_path: Path) -> None:
    assert "sample is 0; give a whole number" in complaint("inspect", "--path", "x", "--sample", 0)
    root = copied(tmp_path / "set")
    (root / "property").write_text("7,16,16")
    assert "says 7 classes" in complaint("inspect", "--path", root)
