"""Files appear whole or not at all, and pages keep what people wrote."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qdgs_lightning.files import replacing, write_measured


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
