"""Pieces of an export: whole or not there, in order, and damage noticed."""

import random
from pathlib import Path

import pytest

from qdgs_lightning.export.shards import ExportError, ImagePieces

MAGIC = bytes.fromhex("0a23d7ce")  # of RecordIO, which no writer leaves within a record


def files(total: int) -> list[bytes]:
    source = random.Random(0)
    return [source.randbytes(40 + index) + MAGIC * (index % 3) for index in range(total)]


def written(folder: Path, total: int, piece_size: int) -> ImagePieces:
    pieces, contents = ImagePieces(folder, total=total, piece_size=piece_size), files(total)
    for piece in reversed(range(len(pieces))):  # ranks end in any order
        pieces.write(piece, [contents[position] for position in pieces.positions(piece)])
    return pieces


@pytest.mark.parametrize(("total", "piece_size"), [(7, 3), (6, 3), (1, 5), (5, 1)])
def test_what_was_written_in_any_order_is_read_in_order(
    tmp_path: Path, total: int, piece_size: int
) -> None:
    folder = tmp_path / "pieces"
    assert ImagePieces(folder, total=total, piece_size=piece_size).pending() == list(
        range(-(-total // piece_size))
    )
    pieces = written(folder, total, piece_size)
    assert pieces.pending() == []
    pieces.check_all_there()
    assert list(pieces) == files(total)
    assert len(list(folder.iterdir())) == len(pieces)  # and nothing else


def test_only_what_is_whole_counts(tmp_path: Path) -> None:
    pieces = written(tmp_path, 7, 3)
    (tmp_path / "00000001.rec").rename(tmp_path / ".unfinished_00000001.rec")
    assert pieces.pending() == [1]
    with pytest.raises(ExportError, match="lacks 1 of"):
        pieces.check_all_there()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, other: content[:-8],
        lambda content, other: content + content,
        lambda content, other: b"",
        lambda content, other: bytes(len(content)),
        lambda content, other: other,
    ],
)
def test_a_damaged_piece_is_removed_and_has_to_be_written_again(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    pieces = written(tmp_path, 6, 3)
    path, other = tmp_path / "00000001.rec", tmp_path / "00000000.rec"
    path.write_bytes(damage(path.read_bytes(), other.read_bytes()))
    with pytest.raises(ExportError, match=r"00000001\.rec was damaged"):
        list(pieces)
    assert pieces.pending() == [1]
    pieces.write(1, files(6)[3:])
    assert list(pieces) == files(6)


def test_a_piece_of_another_length_is_refused(tmp_path: Path) -> None:
    pieces = ImagePieces(tmp_path, total=7, piece_size=3)
    for piece, number in ((0, 2), (0, 4), (2, 3)):
        with pytest.raises(ExportError, match=f"and {number} came"):
            pieces.write(piece, files(number))
    assert pieces.pending() == [0, 1, 2]
