"""RecordIO as mxnet writes it: tests/peers/make_mxnet_records.py made tests/data/recordio."""

import io
import json
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.datasets.records.file import (
    MAGIC,
    Record,
    RecordFile,
    RecordIOError,
    write_record,
)
from qdgs_lightning.datasets.records.index import read_index, rebuild_index

DATA = Path(__file__).parents[2] / "data" / "recordio"
BY_MXNET = json.loads((DATA / "read_by_mxnet.json").read_text())
MAGIC_BYTES = MAGIC.to_bytes(4, "little")


def rewritten(records: list[bytes]) -> bytes:
    file = io.BytesIO()
    for data in records:
        write_record(file, data)
    return file.getvalue()


def test_records_with_the_magic_in_them_are_read_and_written_as_by_mxnet() -> None:
    file = RecordFile(DATA / "raw.rec")
    records = [file.read(offset) for offset in file.scan()]
    assert [data.hex() for data in records] == BY_MXNET["raw"]
    assert rewritten(records) == (DATA / "raw.rec").read_bytes()


@pytest.mark.parametrize("name", ["faces", "plain"])
def test_headers_are_read_and_written_as_by_mxnet(name: str) -> None:
    file = RecordFile(DATA / name / "train.rec")
    index = read_index(DATA / name / "train.idx", file)
    found = {}
    for key in index.keys.tolist():
        offset = index.offset(key)
        assert offset is not None
        record = Record.from_bytes(file.read(offset))
        digest = sha256(record.payload).hexdigest()
        found[str(key)] = {"labels": list(record.labels), "sha256": digest}
    assert found == BY_MXNET[name]
    records = [Record.from_bytes(file.read(offset)).to_bytes() for offset in file.scan()]
    assert rewritten(records) == file.path.read_bytes()


def test_behind_damage_the_next_beginning_is_found(tmp_path: Path) -> None:
    def chunk(kind: int) -> bytes:
        return MAGIC_BYTES + (kind << 29).to_bytes(4, "little")

    # Not at a multiple of four, parts between and last, and a word that ends with the file.
    path = tmp_path / "a.rec"
    path.write_bytes(b"x" + chunk(0) + b"xxx" + chunk(2) + chunk(3) + chunk(1) + chunk(0))
    file = RecordFile(path)
    assert [file.next_magic(start) for start in (0, 28, 29, 36, 37)] == [28, 28, 36, 36, 44]


PIECES = st.sampled_from([MAGIC_BYTES, b"abcd", b"x"])


@given(st.lists(st.lists(PIECES, max_size=8), max_size=6))
def test_whatever_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[bytes]]
) -> None:
    records = [b"".join(pieces) for pieces in parts] or [b""]
    path = tmp_path_factory.mktemp("records") / "a.rec"
    path.write_bytes(rewritten(records))
    file = RecordFile(path)
    offsets = list(file.scan())
    assert [file.read(offset) for offset in offsets] == records
    assert all(offset % 4 == 0 for offset in offsets)


def test_an_index_made_anew_is_the_one_that_mxnet_wrote(tmp_path: Path) -> None:
    for name in ("faces", "plain"):
        file = RecordFile(DATA / name / "train.rec")
        seen: list[int] = []
        index = rebuild_index(file, seen.append)
        index.save(tmp_path / "train.idx")
        assert (tmp_path / "train.idx").read_text() == (DATA / name / "train.idx").read_text()
        assert seen[-1] == len(file.data)
        assert len(seen) == len(index)


def test_equal_ids_leave_places_as_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(rewritten([Record(labels=(1.0,), payload=b"x").to_bytes()] * 3))
    assert rebuild_index(RecordFile(path)).keys.tolist() == [0, 1, 2]


def test_labels_are_read_at_once_where_records_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "some.rec"
    records = [
        Record(labels=(3.0,), payload=b"x", key=1),
        Record(labels=(4.0, 9.0), payload=b"yy", key=2, is_vector=True),
        Record(labels=(5.0,), payload=MAGIC_BYTES + b"z", key=3),
        Record(labels=(6.0,), payload=b"", key=4, is_vector=True),
    ]
    with path.open("wb") as file:
        offsets = np.array([write_record(file, record.to_bytes()) for record in records])
    labels, known = RecordFile(path).scalar_headers(offsets)
    # The third lies in two pieces, since it holds the magic.
    assert known.tolist() == [True, True, False, True]
    assert labels[known].tolist() == [3, 4, 6]
    # The last one is cut within its label, or within its header.
    for missing in (4, 8, 12, 28):
        path.write_bytes(path.read_bytes()[: int(offsets[-1]) + 36 - missing])
        _, known = RecordFile(path).scalar_headers(offsets)
        assert known.tolist() == [True, True, False, False]
    _, known = RecordFile(path).scalar_headers(offsets[:3] + 4)
    assert not known.any()


def test_a_file_goes_to_another_process_unopened() -> None:
    file = RecordFile(DATA / "raw.rec")
    assert len(file.data) == 440
    copy = pickle.loads(pickle.dumps(file))
    assert [copy.read(offset) for offset in copy.scan()][1] == b"abc"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "the file ends 1 bytes too early"),
        (lambda data: data[:-200], "the file ends 200 bytes too early"),
        (lambda data: b"x" + data[1:], "no record begins there"),
        (lambda data: data[:7] + b"\xe0" + data[8:], "its kind is 7"),
        (lambda data: data[:7] + b"\x40" + data[8:], "later part stands where one should begin"),
        (lambda data: data[:7] + b"\x20" + data[8:], "its last part is missing"),
        (lambda data: data + b"abc", "the file has 443 bytes"),
        (lambda data: b"", "cannot be read"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "raw.rec"
    path.write_bytes(change((DATA / "raw.rec").read_bytes()))
    file = RecordFile(path)
    with pytest.raises(RecordIOError, match=message) as caught:
        [file.read(offset) for offset in file.scan()]
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t0\n2\tx\n", "is no index"),
        ("1\t0\n2\n", "holds 3 numbers"),
        ("", "holds 0 numbers"),
        ("0\t0\n0\t732\n", "names a key or a record twice"),
        ("0\t0\n1\t4\n", "is of another file"),
        ("0\t0\n1\t99999999\n", "is of another file"),
        ("0\t4\n1\t99999999\n", "no whole record at byte 4"),
        ("0\t0\n", "is of another file"),
    ],
)
def test_an_index_of_another_file_is_found_out(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.idx"
    path.write_text(text)
    with pytest.raises(RecordIOError, match=message):
        read_index(path, RecordFile(DATA / "plain" / "train.rec"))


def test_random_damage_gives_records_or_an_error(tmp_path: Path) -> None:
    whole = (DATA / "faces" / "train.rec").read_bytes()
    path, random = tmp_path / "train.rec", np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(5000):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        path.write_bytes(damaged)
        try:
            rebuild_index(RecordFile(path))
            outcomes["read"] += 1
        except RecordIOError:
            outcomes["refused"] += 1
    assert outcomes["read"] > 4000  # most of the bytes are those of images
    assert outcomes["refused"] > 20
