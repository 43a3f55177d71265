"""``qdgs data verify``: every kind of damage is named, and nothing is changed."""

import os
import pickle
import re
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets.records.file import Record, RecordFile, write_record
from tests.datasets.face_sets import complaint, contents, copied, image_file, photos
from tests.faces import jpegs, portraits, write_benchmark

Capture = pytest.CaptureFixture[str]


def problems(path: Path, *words: object) -> list[str]:
    """What the report lists."""
    report = path.parent / "report.txt"
    told = complaint("verify", "--path", path, "--report", report, *words)
    listed = report.read_text().splitlines()
    report.unlink()
    assert f"{len(listed)} problem" in told
    return listed


def replace_record(root: Path, key: int, record: Record) -> None:
    """Exchange the record of a key; the index is made anew when it is needed."""
    file = RecordFile(root / "train.rec")
    records = [Record.from_bytes(file.read(offset)) for offset in file.scan()]
    (root / "train.idx").unlink(missing_ok=True)
    with (root / "new").open("wb") as new:
        for old in records:
            write_record(new, (record if old.key == key else old).to_bytes())
    (root / "new").replace(root / "train.rec")


@pytest.mark.parametrize("name", ["faces", "plain"])
def test_what_mxnet_wrote_is_whole(tmp_path: Path, name: str, capsys: Capture) -> None:
    root = copied(tmp_path / "set", name)
    before = contents(root)
    main(["data", "verify", "--path", str(root)])
    images, identities = (9, 3) if name == "faces" else (5, 2)
    told = capsys.readouterr().out
    assert f"{images} images of {identities} identities, 0 problems" in told
    assert f"{images} JPEG RGB 16 x 16" in told
    assert contents(root) == before


def test_two_processes_find_the_same(tmp_path: Path, capsys: Capture) -> None:
    root = photos(tmp_path / "photos", [80, 60])
    (root / "id01" / "004.jpg").write_bytes(b"")
    alone = problems(root, "--workers", 0)
    told = capsys.readouterr().out
    assert problems(root, "--workers", 2) == alone
    assert capsys.readouterr().out == told
    assert alone == [f"{root / 'id01' / '004.jpg'} is bad (it holds no image)."]


def test_a_missing_index_is_not_made(tmp_path: Path, capsys: Capture) -> None:
    root = copied(tmp_path / "set")
    (root / "train.idx").unlink()
    main(["data", "verify", "--path", str(root)])
    assert "train.idx is missing; it is made when" in capsys.readouterr().out
    assert not (root / "train.idx").exists()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Record(labels=(0.0,), payload=b"", key=2), "it holds no image"),
        (Record(labels=(0.0,), payload=b"no jpeg", key=2), "7 bytes are none of JPEG"),
        (Record(labels=(0.5,), payload=b"x", key=2), "its label is 0.5, no identity"),
        (Record(labels=(-1.0,), payload=b"x", key=2), "its label is -1, no identity"),
        (Record(labels=(float("nan"),), payload=b"x", key=2), "its label is nan, no identity"),
        (
            Record(labels=(3.0,), payload=image_file("PNG", "RGB"), key=2),
            "its label is 3, not one of 3",
        ),
        (
            Record(labels=(0.0,), payload=image_file("JPEG", "RGB", side=20), key=2),
            "it has 20 x 20 pixels, not 16 x 16 as property says",
        ),
        (
            Record(labels=(0.0,), payload=jpegs(portraits(0, 1, side=16))[0][:-40], key=2),
            "bytes cannot be decoded as an image",
        ),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, record: Record, expected: str) -> None:
    root = copied(tmp_path / "set")
    replace_record(root, 2, record)
    (problem,) = problems(root)
    assert problem.startswith(f"Record 2 of {root / 'train.rec'} is bad (")
    assert expected in problem


@pytest.mark.parametrize(("mode", "colours"), [("L", "grey"), ("CMYK", "CMYK")])
def test_grey_and_cmyk_images_are_counted_and_no_problem(
    tmp_path: Path, mode: str, colours: str, capsys: Capture
) -> None:
    root = copied(tmp_path / "set")
    replace_record(root, 2, Record(labels=(0.0,), payload=image_file("JPEG", mode), key=2))
    main(["data", "verify", "--path", str(root)])
    told = capsys.readouterr().out
    assert "8 JPEG RGB 16 x 16" in told
    assert f"1 JPEG {colours} 16 x 16" in told


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: data[:-30], ["ends 30 bytes too early", "key 0 byte 6752;"]),
        (lambda data: data[:3000], ["bytes too early", "9 of its 13 keys"]),
        (lambda data: b"x" + data[1:], ["byte 0 (no record begins there)", "key 1 byte 0;"]),
    ],
)
def test_a_damaged_file_is_read_on_behind_the_damage(
    tmp_path: Path, change: Callable[[bytes], bytes], expected: list[str], capsys: Capture
) -> None:
    root = copied(tmp_path / "set")
    whole = (root / "train.rec").read_bytes()
    (root / "train.rec").write_bytes(change(whole))
    (root / "property").unlink()
    found = problems(root)
    assert len(found) == len(expected)
    for text, problem in zip(expected, found, strict=True):
        assert text in problem
    images = int(capsys.readouterr().out.rpartition("train.rec: ")[2].split()[0])
    assert images == {len(whole) - 30: 9, 3000: 4, len(whole): 8}[len(change(whole))]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda pairs: [*pairs[:-1], (13, 999_999)], "such as key 13 byte 999999, beyond its end"),
        (lambda pairs: [(key, place + 4) for key, place in pairs], "13 of its 13 keys name places"),
        (lambda pairs: [*pairs[:2], (1, pairs[2][1]), *pairs[3:]], "twice: key 1"),
        (lambda pairs: [*pairs[:2], (3, pairs[1][1]), *pairs[3:]], "twice: record at byte"),
        (lambda pairs: pairs[1:], "leaves out 1 of 13 records"),
    ],
)
def test_an_index_that_does_not_belong_is_named(
    tmp_path: Path,
    change: Callable[[list[tuple[int, int]]], list[tuple[int, int]]],
    expected: str,
) -> None:
    root = copied(tmp_path / "set")
    index = root / "train.idx"
    numbers = np.array(index.read_text().split(), dtype=int).reshape(-1, 2)
    changed = change([(int(key), int(place)) for key, place in numbers])
    index.write_text("".join(f"{key}\t{place}\n" for key, place in changed))
    found = problems(root)
    assert str(index) in found[0]
    assert any(expected in problem for problem in found), found


def test_an_index_of_another_set_is_named_and_images_are_still_found(
    tmp_path: Path, capsys: Capture
) -> None:
    root = copied(tmp_path / "set")
    (root / "train.idx").write_text((copied(tmp_path / "b", "plain") / "train.idx").read_text())
    found = problems(root)
    assert "is of another file or damaged" in found[0]
    assert "9 images of 3 identities" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4,16,16\n", "says 4 classes and .* has 3"),
        ("many\n", "does not begin with a number of classes"),
    ],
)
def test_property_must_agree(tmp_path: Path, text: str, expected: str) -> None:
    root = copied(tmp_path / "set")
    (root / "property").write_text(text)
    (problem,) = problems(root)
    assert re.search(expected, problem)


def test_an_identity_without_images_is_named(tmp_path: Path) -> None:
    root = copied(tmp_path / "set")
    for key in (4, 5):  # the images of identity 1
        payload = image_file("JPEG", "RGB")
        replace_record(root, key, Record(labels=(0.0,), payload=payload, key=key))
    (problem,) = problems(root)
    assert problem == f"1 of 3 identities of {root / 'train.rec'} have no image: 1."


def test_bad_files_of_a_folder_are_named(tmp_path: Path, capsys: Capture) -> None:
    root = photos(tmp_path / "photos", [3, 2], side=16)
    (root / "id00" / "000.jpg").write_bytes(image_file("JPEG", "L"))
    (root / "id00" / "001.jpg").write_bytes(b"")
    (root / "id00" / "003.jpg").symlink_to(tmp_path / "none")
    (root / "id02").mkdir()
    found = problems(root)
    assert found == [
        f"{root / 'id02'} has no image.",
        f"{root / 'id00' / '001.jpg'} is bad (it holds no image).",
        f"{root / 'id00' / '003.jpg'} is bad (it cannot be read: No such file or directory).",
    ]
    told = capsys.readouterr().out
    assert "6 images of 3 identities, 3 problems" in told
    assert "1 JPEG grey 16 x 16" in told


def test_the_screen_gets_the_first_problems_only(tmp_path: Path, capsys: Capture) -> None:
    root = photos(tmp_path / "photos", [25], side=8)
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"")
    assert len(problems(root)) == 25
    told = capsys.readouterr().out
    assert told.count("is bad") == 20
    assert "... and 5 more" in told


def test_a_report_without_a_place_costs_no_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    root = photos(tmp_path / "photos", [2], side=8)
    (root / "id00" / "001.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for place in (".", "photos"):
        told = complaint("verify", "--path", root, "--report", place)
        assert told == (
            f"qdgs: Is a directory '{tmp_path / place}': choose a place that can be read and "
            "written."
        )
        assert "001.jpg is bad (it holds no image)" in capsys.readouterr().out
    assert os.listdir() == ["photos"]


def test_an_interruption_tells_what_was_found(
    tmp_path: Path, capsys: Capture, request: pytest.FixtureRequest
) -> None:
    root = photos(tmp_path / "photos", [64, 64], side=8)
    (root / "id00" / "000.jpg").write_bytes(b"")
    pipe = root / "id01" / "001.jpg"  # whoever reads it waits
    pipe.unlink()
    os.mkfifo(pipe)
    reader = threading.get_ident()

    def interrupt() -> None:
        with pipe.open("wb"):  # which waits for the reader
            signal.pthread_kill(reader, signal.SIGINT)
            ended.wait(30)

    before, ended = signal.signal(signal.SIGINT, signal.default_int_handler), threading.Event()
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    thread = threading.Thread(target=interrupt)
    thread.start()
    told = complaint("verify", "--path", root)
    ended.set()
    thread.join()
    assert "Interrupted after 64 of 128 images" in told
    assert "1 problem so far" in told
    assert "000.jpg is bad" in capsys.readouterr().out


def bin_of(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def test_a_benchmark_is_checked_image_by_image(tmp_path: Path, capsys: Capture) -> None:
    files = [*jpegs(portraits(0, 2, side=16)), image_file("JPEG", "L"), b"no jpeg"]
    path = bin_of(tmp_path / "a.bin", (files, [True, False]))
    too_few, problem = problems(path)
    assert too_few == f"{path} has no accuracy: 2 pairs are too few for 10 folds."
    assert problem == (
        f"Image number 3 in {path} is bad (7 bytes are none of JPEG, PNG, BMP, WEBP, PPM, TIFF)."
    )
    told = capsys.readouterr().out
    assert "pairs: 2, 1 of one person and 1 of two" in told
    assert "1 JPEG grey 16 x 16" in told


class Code:
    """Asks whoever unpickles it to run something."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (([b"x", b"y", b"z"], [True, False]), "3 images and 2 labels"),
        ((b"x", [True]), "no verification set that can be read"),
        (([b"x", Code()], [True]), "no verification set that can be read"),
    ],
)
def test_a_bin_that_is_no_benchmark_is_told_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = complaint("verify", "--path", bin_of(tmp_path / "a.bin", content))
    assert expected in told
    assert str(tmp_path / "a.bin") in told
    assert not Path("executed").exists()


def test_pairs_of_absent_files_are_told(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", [2], side=8)
    (root / "pairs.txt").write_text("id00/000.jpg id00/001.jpg 1\nid00/000.jpg id07/002.jpg 0\n")
    told = complaint("verify", "--path", root)
    assert "id07/002.jpg" in told
    assert "pairs.txt" in told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--path", "none"], "none is not there; name a .rec or .bin file"),
        (["--path", "a.txt"], "a.txt is of no known kind"),
        (["--path", "empty.rec"], "empty.rec cannot be read"),
        (["--path", "folder"], "folder has no folder within"),
        (["--path", "bins"], "bins holds a.bin; name one of them"),
        (["--path", "faces", "--workers", "-1"], "workers is -1; give 0 or more"),
    ],
)
def test_what_cannot_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    copied(tmp_path / "faces")
    for folder in ("folder", "bins"):
        Path(folder).mkdir()
    for file in ("a.txt", "empty.rec", "bins/a.bin"):
        Path(file).touch()
    assert expected in complaint("verify", *words)


def test_benchmarks_beside_a_training_set_are_looked_at_too(
    tmp_path: Path, capsys: Capture
) -> None:
    root = copied(tmp_path / "set")
    for name in ("cfp_fp", "lfw", "rfw_asian"):
        write_benchmark(root / f"{name}.bin", range(3), 10)
    shutil.copytree(photos(tmp_path / "people", [2, 2]), root / "own")
    pairs = root / "own" / "pairs.txt"
    pairs.write_text("id00/000.jpg id00/001.jpg 1\nid00/000.jpg id01/001.jpg 0\n" * 5)
    main(["data", "verify", "--path", str(root)])
    told = capsys.readouterr().out
    for name in ("train.rec", "cfp_fp.bin", "lfw.bin", "own", "rfw_asian.bin"):
        assert re.search(rf"^{root / name}: \d+ images.*, 0 problems\.$", told, re.MULTILINE)

    lfw = (root / "lfw.bin").read_bytes()
    (root / "cfp_fp.bin").write_bytes(lfw[:-50])  # cannot be opened, and the rest is looked at
    at = lfw.index(b"\xff\xd8") + 20
    (root / "lfw.bin").write_bytes(lfw[:at] + bytes(100) + lfw[at + 100 :])
    (root / "own" / "id01" / "001.jpg").write_bytes(b"")
    replace_record(root, 2, Record(labels=(0.0,), payload=b"", key=2))
    found = problems(root)
    files = ("train.rec", "cfp_fp.bin", "lfw.bin", "001.jpg")
    assert [next(name for name in files if name in problem) for problem in found] == list(files)

    capsys.readouterr()
    complaint("verify", "--path", root / "train.rec")  # of itself alone
    assert ".bin" not in capsys.readouterr().out
