"""Tables of landmarks, and folders of faces packed as `align_face` warps them."""

from pathlib import Path

import pytest
import torch

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets import (
    AlignedFaces,
    FaceFolderDataset,
    RecordIODataset,
    align_face,
    read_landmarks,
)
from qdgs_lightning.datasets.alignment import AlignmentError
from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.datasets.records.packing import encode_jpeg
from qdgs_lightning.datasets.similarity import ARCFACE_POINTS
from tests.datasets.face_sets import complaint
from tests.datasets.pictures import BY_OTHERS

SCENE = (BY_OTHERS / "scene.jpg").read_bytes()
HEADER = "image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5"


def line(name: str, *, shift: float = 0) -> str:
    numbers = [f"{value + shift:.4f}" for point in ARCFACE_POINTS for value in point]
    return ",".join([name, *numbers])


def photos(root: Path) -> Path:
    for name in ("ann/0.jpg", "ann/1.jpg", "bo/x/0.JPG"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(SCENE)
    return root


def table(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


ALL = (line("ann/0.jpg"), line("./ann/1.jpg", shift=20), line("bo\\x\\0.JPG", shift=40))


@pytest.mark.parametrize("size", [None, 56])
def test_faces_are_packed_as_they_are_aligned(tmp_path: Path, size: int | None) -> None:
    root = photos(tmp_path / "photos")
    path = table(tmp_path / "landmarks.csv", HEADER, *ALL)
    words = ["--source", str(root), "--output", str(tmp_path / "new"), "--align", str(path)]
    main(["data", "pack", *words, *([] if size is None else ["--size", str(size)])])
    packed, template = RecordIODataset(tmp_path / "new"), torch.tensor(ARCFACE_POINTS)
    assert packed.labels.tolist() == [0, 0, 1]
    for row, shift in enumerate((0, 20, 40)):
        expected = align_face(decode_rgb(SCENE), template + shift, size=size or 112)
        assert packed.encoded(row) == encode_jpeg(expected)


def test_points_stand_in_the_order_of_the_table(tmp_path: Path) -> None:
    lines = "a.jpg,1,2,3,4,5,6,7,8,9,10.5", "", "b c.jpg, 0,0,0,0,0,0,0,0,0,-1e1"
    found = read_landmarks(table(tmp_path / "a.csv", *lines))
    assert found["a.jpg"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]
    assert found["b c.jpg"][4].tolist() == [0, -10]
    marked = tmp_path / "marked.csv"  # as Excel writes UTF-8
    marked.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\nJos\u00e9.jpg{',1' * 10}\n".encode())
    assert read_landmarks(marked).keys() == {"Jos\u00e9.jpg"}
    assert found["a.jpg"].dtype == torch.float64


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((HEADER,), "has no landmarks"),
        ((HEADER, "a.jpg,1,2,3"), "Line 2 of .* is not a path and ten coordinates"),
        ((line("a.jpg") + ",7",), "Line 1 of .* is not a path and ten coordinates"),
        ((line("a.jpg"), HEADER), "Line 2 of .* is not a path"),
        ((line("a.jpg"), line("./a.jpg")), r"Line 2 of .* names a\.jpg again"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(AlignmentError, match=message):
        read_landmarks(table(tmp_path / "a.csv", *lines))
    with pytest.raises(AlignmentError, match="cannot be read"):
        read_landmarks(tmp_path / "none.csv")


def test_faces_without_landmarks_are_counted_and_nothing_is_written(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    path = table(tmp_path / "landmarks.csv", ALL[1])
    words = ("pack", "--source", root, "--align", path)
    told = complaint(*words, "--output", tmp_path / "new")
    assert "2 of 3 images of" in told
    assert "such as ann/0.jpg" in told
    assert not (tmp_path / "new").exists()
    assert "pack that, then the .bin" in complaint(*words, "--output", tmp_path / "new.bin")
    table(path, *ALL[:2], "bo/x/0.JPG" + ",3" * 10)
    assert "0.JPG: All landmarks are at one place" in complaint(
        *words, "--output", tmp_path / "new"
    )
    assert not (tmp_path / "new").exists()


def test_only_folders_of_identities_have_names_to_align_by(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    path = table(tmp_path / "landmarks.csv", *ALL)
    faces = AlignedFaces(FaceFolderDataset(root), read_landmarks(path))
    assert (len(faces), faces[2][0].shape, faces[2][1]) == (3, (3, 112, 112), 1)
    main(["data", "pack", "--source", str(root), "--output", str(tmp_path / "rec")])
    words = ("pack", "--source", tmp_path / "rec", "--output", tmp_path / "new", "--align", path)
    assert "is no folder of identities" in complaint(*words)
