"""Face images of files that mxnet wrote, and of those that we write for others."""

import json
import multiprocessing
import shutil
import warnings
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from qdgs_lightning.datasets import RecordIODataset
from qdgs_lightning.datasets.records.file import Record, RecordFile, RecordIOError, write_record
from qdgs_lightning.datasets.records.index import read_index
from qdgs_lightning.datasets.records.writer import write_record_dataset

DATA = Path(__file__).parents[2] / "data" / "recordio"
BY_MXNET = json.loads((DATA / "read_by_mxnet.json").read_text())
COLOURS = torch.eye(3)


def copied(tmp_path: Path, name: str = "faces") -> Path:
    return Path(shutil.copytree(DATA / name, tmp_path / name))


def payloads(root: Path) -> list[list[bytes]]:
    """Return the image files of each identity."""
    file = RecordFile(root / "train.rec")
    found: dict[float, list[bytes]] = {}
    for offset in file.scan():
        record = Record.from_bytes(file.read(offset))
        if not record.is_metadata:
            found.setdefault(record.labels[0], []).append(record.payload)
    return [found[label] for label in sorted(found)]


def write_records(root: Path, records: list[Record]) -> None:
    root.mkdir(exist_ok=True)
    with (root / "train.rec").open("wb") as file:
        for record in records:
            write_record(file, record.to_bytes())


def test_images_and_identities_of_insightface_s_layout() -> None:
    dataset = RecordIODataset(DATA / "faces")
    assert dataset.num_classes == 3
    assert dataset.keys.tolist() == list(range(1, 10))
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    for row in range(len(dataset)):
        image, label = dataset[row]
        assert image.dtype == torch.uint8
        assert image.shape == (3, 16, 16)
        assert label == dataset.labels[row]
        # An identity is a primary colour, in RGB; JPEG is not exact.
        dark = image[:, 10:].float().mean(dim=(1, 2))
        torch.testing.assert_close(dark / 200, COLOURS[label], atol=0.05, rtol=0)
    with pytest.raises(IndexError):
        dataset[9]


def test_images_of_a_layout_without_metadata() -> None:
    dataset = RecordIODataset(DATA / "plain")
    assert dataset.num_classes == 2
    assert [dataset[row][1] for row in range(5)] == [0, 1, 0, 1, 0]


def test_an_image_with_two_labels_at_key_0_is_no_metadata(tmp_path: Path) -> None:
    first, second = payloads(DATA / "plain")
    records = [
        Record(labels=(1.0, 7.0), payload=second[0], key=0, is_vector=True),
        Record(labels=(0.0, 7.0), payload=first[0], key=1, is_vector=True),
    ]
    write_records(tmp_path, records)
    dataset = RecordIODataset(tmp_path)
    assert len(dataset) == 2
    assert [dataset[row][1] for row in range(2)] == [1, 0]


def test_rounded_numbers_in_the_metadata_do_no_harm(tmp_path: Path) -> None:
    root = copied(tmp_path)
    file = RecordFile(root / "train.rec")
    records = [Record.from_bytes(file.read(offset)) for offset in file.scan()]
    for wrong in (8.0, 9.0, 11.0, 12.0):
        head = Record(labels=(wrong, 2.0**25), payload=b"", key=0, is_vector=True)
        write_records(tmp_path / f"{wrong}", [*records[:-1], head])
        dataset = RecordIODataset(tmp_path / f"{wrong}")
        assert dataset.keys.tolist() == list(range(1, 10))
        assert dataset.num_classes == 3


def test_identities_are_those_that_have_a_record_whatever_the_metadata_promises(
    tmp_path: Path,
) -> None:
    root = copied(tmp_path)
    file = RecordFile(root / "train.rec")
    records = [Record.from_bytes(file.read(offset)) for offset in file.scan()]
    head = Record(labels=(10.0, 20.0), payload=b"", key=0, is_vector=True)
    write_records(tmp_path / "cut", [*records[:-1], head])
    assert RecordIODataset(tmp_path / "cut").num_classes == 3


def test_a_missing_index_is_made_and_kept(tmp_path: Path) -> None:
    root = copied(tmp_path)
    (root / "train.idx").unlink()
    assert len(RecordIODataset(root)) == 9
    assert (root / "train.idx").read_text() == (DATA / "faces" / "train.idx").read_text()


def _opened_without_an_index(root: Path, begin: Any) -> list[str]:  # noqa: ANN401 (a barrier)
    """What is warned of by a process that opens records when all others do."""
    said = []
    for turn in range(8):
        begin.wait()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert len(RecordIODataset(root / str(turn))) == 9
        said += [str(warning.message) for warning in caught]
    return said


def test_processes_that_miss_an_index_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    for turn in range(8):
        (copied(tmp_path / f"source_{turn}")).rename(tmp_path / str(turn))
        (tmp_path / str(turn) / "train.idx").unlink()
    with multiprocessing.get_context("fork").Manager() as manager:
        begin = manager.Barrier(4)
        with ProcessPoolExecutor(4, multiprocessing.get_context("fork")) as pool:
            told = list(pool.map(_opened_without_an_index, [tmp_path] * 4, [begin] * 4))
    assert told == [[]] * 4
    expected = (DATA / "faces" / "train.idx").read_text()
    for turn in range(8):
        assert (tmp_path / str(turn) / "train.idx").read_text() == expected


def test_an_index_of_another_file_is_not_used(tmp_path: Path) -> None:
    root = copied(tmp_path)
    shutil.copy(DATA / "plain" / "train.idx", root)
    with pytest.warns(UserWarning, match="is of another file"):
        dataset = RecordIODataset(root)
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert (root / "train.idx").read_text() == (DATA / "plain" / "train.idx").read_text()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_the_same(context: str) -> None:
    dataset = RecordIODataset(DATA / "faces")
    assert dataset[0][1] == 0  # the file is open before workers start
    loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context=context)
    images, labels = zip(*loader, strict=True)
    assert torch.cat(labels).tolist() == dataset.labels.tolist()
    assert torch.equal(torch.cat(images), torch.stack([dataset[row][0] for row in range(9)]))


def test_what_we_write_is_what_mxnet_s_tools_write(tmp_path: Path) -> None:
    write_record_dataset(tmp_path, payloads(DATA / "faces"), height=16, width=16)
    assert (tmp_path / "property").read_text() == (DATA / "faces" / "property").read_text()
    file = RecordFile(tmp_path / "train.rec")
    index = read_index(tmp_path / "train.idx", file)
    found = {}
    for key in index.keys.tolist():
        offset = index.offset(key)
        assert offset is not None
        record = Record.from_bytes(file.read(offset))
        assert record.key == key
        digest = sha256(record.payload).hexdigest()
        found[str(key)] = {"labels": list(record.labels[:1]), "sha256": digest}
        if record.is_metadata:
            found[str(key)]["labels"] = list(record.labels)
    expected = {
        key: {**entry, "labels": entry["labels"] if entry["labels"][1:] != [0.0] else [2.0]}
        for key, entry in BY_MXNET["faces"].items()
    }
    assert found == expected


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Record(labels=(0.0,), payload=b"", key=2), "it holds no image"),
        (Record(labels=(0.0,), payload=b"no jpeg", key=2), "cannot be decoded"),
        (Record(labels=(0.0,), payload=b"\xff\xd8\xff\xe0cut", key=2), "cannot be decoded"),
        (Record(labels=(0.5,), payload=b"x", key=2), "its label is 0.5, not one of 3"),
        (Record(labels=(3.0,), payload=b"x", key=2), "its label is 3, not one of 3"),
        (Record(labels=(-1.0,), payload=b"x", key=2), "its label is -1, not one of 3"),
        (Record(labels=(float("nan"),), payload=b"x", key=2), "its label is nan, not one of 3"),
        (Record(labels=(float("inf"),), payload=b"x", key=2), "its label is inf, not one of 3"),
    ],
)
def test_a_bad_record_is_named_or_skipped(tmp_path: Path, record: Record, message: str) -> None:
    file = RecordFile(DATA / "faces" / "train.rec")
    records = [Record.from_bytes(file.read(offset)) for offset in file.scan()]
    records[1] = record
    write_records(tmp_path, records)
    dataset = RecordIODataset(tmp_path)
    with pytest.raises(RecordIOError, match=message) as caught:
        dataset[1]
    assert f"Record 2 of {tmp_path / 'train.rec'}" in str(caught.value)
    patient = RecordIODataset(tmp_path, on_bad_record="skip")
    with pytest.warns(UserWarning, match=message):
        image, _ = patient[1]
    assert torch.equal(image, dataset[2][0])
    assert torch.equal(patient[1][0], image)
    assert patient.bad_rows == {1}


@pytest.mark.parametrize(
    ("text", "message"),
    [("4,16,16\n", "says 4 classes and .* has 3"), ("many\n", "does not begin with a number")],
)
def test_property_must_agree(tmp_path: Path, text: str, message: str) -> None:
    root = copied(tmp_path)
    (root / "property").write_text(text)
    with pytest.raises(RecordIOError, match=message):
        RecordIODataset(root)


def test_places_without_images(tmp_path: Path) -> None:
    with pytest.raises(RecordIOError, match="cannot be read"):
        RecordIODataset(tmp_path)
    with pytest.raises(RecordIOError, match="give raise or skip"):
        RecordIODataset(DATA / "faces", on_bad_record="ignore")  # type: ignore[arg-type]
    with pytest.raises(RecordIOError, match="There is no identity"):
        write_record_dataset(tmp_path, [], height=16, width=16)
    with pytest.raises(RecordIOError, match="Identity 1 has no image"):
        write_record_dataset(tmp_path, [[b"x"], []], height=16, width=16)
    assert list(tmp_path.iterdir()) == []
