"""Files appear whole or not at all, and pages keep what people wrote."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.atomic_files import (
    BEGIN,
    END,
    replacing,
    reserved,
    strict_json,
    write_measured,
)


class MistakeError(QDGSError):
    """Of a command."""


def test_nobody_sees_a_file_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as unfinished:
        unfinished.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_older_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as unfinished:
        name = unfinished
    name.parent.mkdir()
    name.write_text("left over, and longer")
    (name.parent / ".tmpX1").write_text("of a library")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_writers_with_names_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path, writer="1") as first, replacing(path, writer="2") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # whoever ends last


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_colleagues_may_read_what_they_may_read_of_any_file(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "a.safetensors") as unfinished:
            save_file({"a": torch.ones(3)}, unfinished)
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("place", [".", "photos", "..", "linked"])
def test_a_folder_is_not_replaced_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "here" / "photos").mkdir(parents=True)
    (tmp_path / "here" / "linked").symlink_to("photos")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(IsADirectoryError) as error_info, replacing(Path(place)):
        pytest.fail("the work began")
    assert error_info.value.filename == place
    assert sorted(os.listdir()) == ["linked", "photos"]
    assert os.listdir(tmp_path) == ["here"]


def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "a.safetensors"
    with (
        pytest.raises(MistakeError, match=f"cannot be saved to {place} "),
        reserved(place, MistakeError),
    ):
        pass
    with reserved(tmp_path / "b.safetensors", MistakeError):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_place_has_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.safetensors"
    with reserved(path, MistakeError):
        with (
            pytest.raises(MistakeError, match="Another process is writing"),
            reserved(path, MistakeError),
        ):
            pass
        with reserved(tmp_path / "new" / "b.safetensors", MistakeError):
            pass
    monkeypatch.chdir(path.parent)
    with (
        reserved(Path(), MistakeError),
        pytest.raises(MistakeError, match="Another process is writing"),
        reserved(path.parent, MistakeError),
    ):
        pass
    with reserved(path, MistakeError):
        pass
    assert os.listdir(tmp_path) == ["new"]
    assert not os.listdir()


def test_page_keeps_what_people_wrote(tmp_path: Path) -> None:
    path = tmp_path / "results" / "page.md"
    write_measured(path, "old numbers", title="Page")
    path.write_text(path.read_text().replace("# Page\n", "# Page\nWritten by hand.\n") + "End.")
    write_measured(path, "new numbers", title="Page")
    text = path.read_text()
    assert text.startswith("# Page\nWritten by hand.\n")
    assert text.endswith("End.")
    assert "old numbers" not in text
    assert "\n\nnew numbers\n\n" in text


def test_a_page_without_marks_gets_them_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("Mine.\n")
    for numbers in ("first", "second"):
        write_measured(path, numbers, title="Page")
    assert path.read_text().startswith("Mine.\n")
    assert path.read_text().count("second") == 1
    assert "first" not in path.read_text()


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        (f"{BEGIN}\nold\n\n## Mine\n", END),
        (f"Mine.\n{END}\n## Mine\n", BEGIN),
        (f"Mine.\n{END}\n## Mine\n{BEGIN}\n## Mine\n", END),
        (f"{BEGIN}\nold\n{END}\n## Mine\n{END}\n", END),
        (f"{BEGIN}\nold\n{END}\n{BEGIN}\n## Mine\n", BEGIN),
    ],
    ids=["no end", "no begin", "swapped", "two ends", "two begins"],
)
def test_a_page_whose_marks_are_unclear_is_left_alone(tmp_path: Path, text: str, mark: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(QDGSError) as error:
        write_measured(path, "new", title="Page")
    assert str(path) in str(error.value)
    assert f"mark '{mark}'" in str(error.value)
    assert path.read_text() == text


class Point(NamedTuple):
    """A tuple with names."""

    x: float
    y: float


@dataclass
class Shape:
    """Holds what JSON does not know."""

    centre: Point
    where: Path
    parts: tuple[object, ...]


def test_a_tree_becomes_strict_json() -> None:
    shape = Shape(Point(math.nan, -math.inf), Path("a/b"), ({1: True}, None, [2, "c"], 0.5))
    text = json.dumps(strict_json({"shape": shape}), allow_nan=False)
    assert json.loads(text) == {
        "shape": {
            "centre": {"x": None, "y": None},
            "where": "a/b",
            "parts": [{"1": True}, None, [2, "c"], 0.5],
        }
    }
