"""Sets that no training could use are told of when they are opened, with an image or a way out."""

from pathlib import Path

import pytest

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets import FaceFolderDataset, open_face_dataset
from qdgs_lightning.datasets.image_folder import FaceFolderError, find_records
from qdgs_lightning.datasets.records.file import Record, RecordIOError, write_record
from qdgs_lightning.datasets.verification.named_images import open_named_images
from tests.datasets.pictures import encoded
from tests.datasets.test_image_folder import face_folder


def test_names_that_begin_with_a_dot_are_no_identities_and_no_images(tmp_path: Path) -> None:
    root = face_folder(tmp_path / "faces", {"a": 2, "b": 1})
    expected = FaceFolderDataset(root).paths
    face_folder(root, {".ipynb_checkpoints": 3})
    face_folder(root / "a", {".ipynb_checkpoints": 2})
    (root / "b" / "._0.jpg").write_bytes(b"attributes of macOS")
    (root / "._train.rec").write_bytes(b"attributes of macOS")
    assert find_records(root) is None
    dataset = open_face_dataset(root)
    assert isinstance(dataset, FaceFolderDataset)
    assert (dataset.identities, dataset.paths, dataset.num_classes) == (["a", "b"], expected, 2)


def test_images_that_are_not_read_are_counted_and_named(tmp_path: Path) -> None:
    root = face_folder(tmp_path, {"a": 2, "b": 1})
    for name in ("1.gif", "2.GIF", "3.heic"):
        (root / "a" / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"has 2 \.gif, 1 \.heic files, which are not read"):
        assert len(FaceFolderDataset(root)) == 3
    (root / "b" / "0.jpg").rename(root / "b" / "0.avif")
    with pytest.raises(FaceFolderError, match=r"b has no image .*1 \.avif that are not read"):
        FaceFolderDataset(root)


@pytest.mark.parametrize("suffix", [".pgm", ".bmp", ".tif", ".TIFF", ".JPG", ".webp"])
def test_images_of_the_suffixes_of_torchvision(tmp_path: Path, suffix: str) -> None:
    kinds = {".pgm": "PPM", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
    (tmp_path / "a").mkdir()
    data = encoded((9, 9, 9), size=(8, 6), kind=kinds.get(suffix.lower(), "JPEG"))
    (tmp_path / "a" / f"0{suffix}").write_bytes(data)
    image, label = FaceFolderDataset(tmp_path)[0]
    assert (image.shape, label) == ((3, 6, 8), 0)


def mixed(root: Path) -> Path:
    """Write eight images of 24 pixels, and at the end of each identity one of 48."""
    face_folder(root, {"a": 4, "b": 4})
    for name in "ab":
        (root / name / "z.jpg").write_bytes(encoded((9, 9, 9), size=(48, 48)))
    return root


def test_an_image_of_another_size_is_named_before_any_is_loaded(tmp_path: Path) -> None:
    root = mixed(tmp_path / "mixed")
    advice = rf"data pack --source {root} --output NEW --size"
    with pytest.raises(
        FaceFolderError,
        match=rf"a/z\.jpg has 48 x 48 pixels where others have 24 x 24.*{advice} 24",
    ):
        FaceFolderDataset(root).check()
    with pytest.raises(FaceFolderError, match=rf"a/0\.jpg has 24 x 24 pixels.*{advice} 48"):
        FaceFolderDataset(root).check(prefer=48)
    with pytest.raises(FaceFolderError, match=r"a/z\.jpg has 48 x 48 pixels"):
        open_named_images(root)
    assert len(open_named_images(root, one_size=False)) == 10  # audits crop each image by itself
    patient = FaceFolderDataset(root, on_bad_record="skip")
    patient.check()
    with pytest.warns(UserWarning, match=r"Skipped: .*a/z\.jpg has 48 x 48"):
        assert patient[4][0].shape == (3, 24, 24)
    main(["data", "pack", "--source", str(root), "--output", str(tmp_path / "new"), "--size", "24"])
    packed = open_face_dataset(tmp_path / "new")
    packed.check()
    assert (len(packed), packed.size) == (10, (24, 24))


def test_an_image_that_the_probes_miss_is_named_when_it_is_loaded(tmp_path: Path) -> None:
    dataset = FaceFolderDataset(mixed(tmp_path))
    dataset.size = (24, 24)
    assert dataset[3][0].shape == (3, 24, 24)
    with pytest.raises(FaceFolderError, match=r"a/z\.jpg has 48 x 48 pixels"):
        dataset[4]


def test_verify_names_an_image_of_another_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["data", "verify", "--path", str(mixed(tmp_path / "mixed"))])
    told = capsys.readouterr().out
    assert (
        "a/z.jpg has 48 x 48 pixels, one of 2 images that differ in size from 8 of 24 x 24" in told
    )


def filtered(root: Path, labels: list[int]) -> Path:
    """Write insightface's layout for three identities whose labels were left as they had been."""
    root.mkdir()
    records = [Record(labels=(7.0, 10.0), payload=b"", key=0, second_id=1, is_vector=True)]
    records += [
        Record(labels=(float(label),), payload=encoded((label, 0, 0), size=(8, 8)), key=key)
        for key, label in enumerate(labels, start=1)
    ]
    records += [
        Record(labels=(2.0 * i + 1, 2.0 * i + 3), payload=b"", key=7 + i, is_vector=True)
        for i in range(3)
    ]
    with (root / "train.rec").open("wb") as file:
        offsets = [write_record(file, record.to_bytes()) for record in records]
    keys = [record.key for record in records]
    lines = (f"{key}\t{offset}\n" for key, offset in zip(keys, offsets, strict=True))
    (root / "train.idx").write_text("".join(lines))
    return root


def test_gaps_of_labels_are_told_at_opening_and_none_is_dropped(tmp_path: Path) -> None:
    root = filtered(tmp_path / "gap", [0, 0, 5, 5, 20, 20])
    for on_bad_record in ("raise", "skip"):
        images = open_face_dataset(root, on_bad_record=on_bad_record)
        with pytest.raises(
            RecordIOError, match=r"run from 0 to 20 for 3 identities; number them anew from 0: qdgs"
        ):
            images.check()
    main(["data", "pack", "--source", str(root), "--output", str(tmp_path / "new")])
    packed = open_face_dataset(tmp_path / "new")
    packed.check()
    assert packed.labels.tolist() == [0, 0, 1, 1, 2, 2]
    reds = [float(packed[row][0][0].float().mean()) for row in (0, 2, 4)]
    assert reds == pytest.approx([0, 5, 20], abs=2)


def test_labels_without_gaps_pass(tmp_path: Path) -> None:
    root = filtered(tmp_path / "whole", [0, 0, 1, 1, 2, 2])
    images = open_face_dataset(root)
    images.check()
    assert (images.num_classes, images.size) == (3, (8, 8))
