"""Files that are whole or absent."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qdgs_lightning.search.persistence.tree_file import ArchiveError, read_tree, write_tree


@contextmanager
def full_disk(at_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, which fails a write as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_tree_comes_back_branch_by_branch(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.safetensors"
    numbers = torch.arange(6, dtype=torch.int32)
    tree = {
        "a": {"numbers": numbers, "text": "ä", "list": [1, 2.5, None, {"deep": torch.ones(2, 2)}]},
        "b": {"none": torch.zeros(0, 3), "scalar": torch.tensor(0.1, dtype=torch.float64)},
    }
    write_tree(path, tree)
    a, b = read_tree(path, "a")["a"], read_tree(path, "b")["b"]
    assert torch.equal(a["numbers"], numbers)
    assert a["numbers"].dtype == torch.int32
    assert (a["text"], a["list"][:3]) == ("ä", [1, 2.5, None])
    assert torch.equal(a["list"][3]["deep"], torch.ones(2, 2))
    assert b["none"].shape == (0, 3)
    assert b["scalar"].shape == ()
    assert b["scalar"].item() == torch.tensor(0.1, dtype=torch.float64).item()
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_what_occurs_twice_is_written_once(tmp_path: Path) -> None:
    big = torch.rand(1000, 10)
    write_tree(tmp_path / "once", {"a": big})
    write_tree(tmp_path / "twice", {"a": big, "b": {"again": big.reshape(1000, 5, 2)}})
    sizes = [(tmp_path / name).stat().st_size for name in ("once", "twice")]
    assert sizes[1] - sizes[0] < 200
    again = read_tree(tmp_path / "twice", "b")["b"]["again"]
    assert torch.equal(again, big.reshape(1000, 5, 2))


def test_a_full_disk_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tree(path, {"a": torch.ones(3)})
    before = path.read_bytes()
    with full_disk(50_000), pytest.raises(ArchiveError, match=r"cannot be saved to .*a\.safe"):
        write_tree(path, {"a": torch.ones(100_000)})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file" / "a.safetensors", tmp_path):
        with pytest.raises(ArchiveError, match="cannot be saved to"):
            write_tree(place, {"a": torch.ones(3)})
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_truncated_and_foreign_files_are_told_apart_from_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(ArchiveError, match="There is no archive file"):
        read_tree(path, "a")
    write_tree(path, {"a": torch.ones(300)})
    whole = path.read_bytes()
    for length in (0, 4, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveError, match="not a whole archive file"):
            read_tree(path, "a")
    save_file({"a": torch.ones(3)}, path)
    with pytest.raises(ArchiveError, match="not a whole archive file"):
        read_tree(path, "a")
    content = bytearray(whole)
    place = content.index(b"[300]")
    content[place : place + 5] = b"[301]"  # as many numbers are not there
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="not a whole archive file"):
        read_tree(path, "a")
    write_tree(path, {"b": torch.ones(3)})
    assert read_tree(path, "a") == {}
    with pytest.raises(ArchiveError, match="not a whole archive file"):
        read_tree(tmp_path, "a")


def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "tree.safetensors"
    trees = [
        {"tree": {"size": size, "values": torch.full((size,), float(size))}} for size in (500, 501)
    ]
    write_tree(path, trees[0])
    done = threading.Event()

    def keep_replacing() -> None:
        while not done.is_set():
            for tree in trees:
                write_tree(path, tree)

    writer = threading.Thread(target=keep_replacing)
    writer.start()
    try:
        for _ in range(500):
            tree = read_tree(path, "tree")["tree"]
            assert torch.equal(tree["values"], torch.full((tree["size"],), float(tree["size"])))
    finally:
        done.set()
        writer.join()
