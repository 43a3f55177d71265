"""Folders of identities: numbered as torchvision does, and bad images named."""

from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from qdgs_lightning.datasets import FaceFolderDataset, FaceFolderError, open_face_dataset
from qdgs_lightning.datasets.image_header import image_header
from qdgs_lightning.datasets.records.file import RecordIOError
from tests.faces import jpegs, portraits

RECORDS = Path(__file__).parents[1] / "data" / "recordio"


def face_folder(root: Path, counts: dict[str, int]) -> Path:
    """Make a folder of identities with so many images each."""
    for identity, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number, data in enumerate(jpegs(portraits(identity, count, side=24))):
            (root / name / f"{number}.jpg").write_bytes(data)
    return root


def test_the_same_images_and_numbers_as_of_torchvision(tmp_path: Path) -> None:
    root = face_folder(tmp_path / "faces", {"b": 2, "10": 1, "9": 3, "B": 1, "b-c": 1})
    (root / "9" / "notes.txt").write_text("no image")
    (root / "9" / "deeper").mkdir()
    (root / "9" / "0.jpg").rename(root / "9" / "deeper" / "0.JPG")
    dataset, expected = FaceFolderDataset(root), ImageFolder(str(root))
    assert dataset.identities == expected.classes == ["10", "9", "B", "b", "b-c"]
    assert dataset.paths == [path for path, _ in expected.samples]
    assert dataset.labels.tolist() == expected.targets
    assert dataset.num_classes == 5
    for row, (picture, identity) in enumerate(expected):
        image, label = dataset[row]
        assert image.dtype == torch.uint8
        assert label == identity
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        assert torch.equal(image, pixels.reshape(24, 24, 3).permute(2, 0, 1))
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    assert torch.equal(dataset[-1][0], dataset[7][0])


@pytest.mark.parametrize("content", [b"", b"no jpeg", b"\xff\xd8\xff\xe0cut"])
def test_a_bad_image_is_named_or_skipped(tmp_path: Path, content: bytes) -> None:
    root = face_folder(tmp_path, {"a": 2, "b": 1})
    (root / "a" / "1.jpg").write_bytes(content)
    dataset = FaceFolderDataset(root)
    with pytest.raises(FaceFolderError, match=r"a.1\.jpg is bad"):
        dataset[1]
    patient = FaceFolderDataset(root, on_bad_record="skip")
    with pytest.warns(UserWarning, match=r"Skipped: .*1\.jpg"):
        image, label = patient[1]
    assert label == 1
    assert torch.equal(image, dataset[2][0])
    assert torch.equal(patient[1][0], image)  # warned of once
    assert patient.bad_rows == {1}


def test_no_good_image_at_all_is_an_error(tmp_path: Path) -> None:
    root = face_folder(tmp_path, {"a": 1})
    (root / "a" / "0.jpg").write_bytes(b"")
    patient = FaceFolderDataset(root, on_bad_record="skip")
    with (
        pytest.warns(UserWarning, match="Skipped"),
        pytest.raises(FaceFolderError, match="no image that can be read"),
    ):
        patient[0]


def test_an_image_that_went_away_is_named(tmp_path: Path) -> None:
    dataset = FaceFolderDataset(face_folder(tmp_path, {"a": 1}))
    (tmp_path / "a" / "0.jpg").unlink()
    with pytest.raises(FaceFolderError, match=r"0\.jpg cannot be read: No such file"):
        dataset[0]


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(FaceFolderError, match="has no folder within"):
        FaceFolderDataset(tmp_path)
    with pytest.raises(FaceFolderError, match="cannot be read"):
        FaceFolderDataset(tmp_path / "none")
    root = face_folder(tmp_path / "faces", {"a": 1})
    (root / "b").mkdir()
    with pytest.raises(FaceFolderError, match=r"faces.b has no image .*\.jpg"):
        FaceFolderDataset(root)
    (root / "c").mkdir()
    with pytest.raises(FaceFolderError, match="nor have 1 more"):
        FaceFolderDataset(root)
    with pytest.raises(FaceFolderError, match="give raise or skip"):
        FaceFolderDataset(root, on_bad_record="ignore")  # type: ignore[arg-type]


def test_open_tells_records_from_folders(tmp_path: Path) -> None:
    by_file = open_face_dataset(RECORDS / "faces" / "train.rec")
    by_folder = open_face_dataset(str(RECORDS / "faces"), on_bad_record="skip")
    assert by_file.labels.tolist() == by_folder.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert by_folder.on_bad_record == "skip"
    root = face_folder(tmp_path / "faces", {"a": 1, "b": 2})
    folder = open_face_dataset(root, on_bad_record="skip")
    assert isinstance(folder, FaceFolderDataset)
    assert folder.on_bad_record == "skip"
    assert folder.labels.tolist() == [0, 1, 1]
    for name in ("one", "two"):
        (tmp_path / f"{name}.rec").write_bytes((RECORDS / "faces" / "train.rec").read_bytes())
    with pytest.raises(FaceFolderError, match=r"holds one\.rec, two\.rec; name one"):
        open_face_dataset(tmp_path)
    (tmp_path / "two.rec").unlink()
    assert len(open_face_dataset(tmp_path)) == 9
    with pytest.raises(FaceFolderError, match="is not there"):
        open_face_dataset(tmp_path / "none")
    with pytest.raises(FaceFolderError, match="is a file"):
        open_face_dataset(root / "a" / "0.jpg")
    with pytest.raises(RecordIOError, match="cannot be read"):
        open_face_dataset(tmp_path / "none.rec")


@pytest.mark.parametrize(
    ("kind", "mode", "colours", "suffix"),
    [
        ("JPEG", "RGB", "RGB", ".jpg"),
        ("JPEG", "L", "grey", ".jpg"),
        ("JPEG", "CMYK", "CMYK", ".jpg"),
        ("PNG", "RGBA", "RGBA", ".png"),
        ("PNG", "P", "palette", ".png"),
        ("WEBP", "RGB", "RGB", ".webp"),
        ("BMP", "RGB", "RGB", ".bmp"),
    ],
)
def test_headers(kind: str, mode: str, colours: str, suffix: str) -> None:
    file = BytesIO()
    Image.new(mode, (20, 12)).save(file, kind)
    header = image_header(file.getvalue())
    assert (header.format, header.colours, header.suffix) == (kind, colours, suffix)
    assert (header.height, header.width) == (12, 20)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"GIF89a" + bytes(30), b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_has_no_header(content: bytes) -> None:
    with pytest.raises(ValueError, match=f"^{len(content)} bytes are none of JPEG, PNG"):
        image_header(content)
