"""What an export needs of the disk, against what it then writes."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.export.formats import (
    write_image_folder,
    write_records,
    write_webdataset,
)
from qdgs_lightning.export.layout import ExportLayout
from qdgs_lightning.export.shards import ExportError, ImagePieces
from qdgs_lightning.export.workspace import ExportFormat, ExportOptions, ExportPlace
from qdgs_lightning.export.writer import encode_image
from qdgs_lightning.identities import IdentityTable


@pytest.mark.parametrize("format", get_args(ExportFormat))
def test_the_estimate_is_what_disks_lose(tmp_path: Path, format: ExportFormat) -> None:
    table = IdentityTable(
        latents=torch.zeros(60, 2),
        classes=torch.arange(30).repeat(2),
        bins=torch.zeros(60, dtype=torch.int64),
        bin_names=("only",),
    )
    layout = ExportLayout.of(table, num_images=300, mixed=format == "webdataset")
    noise = torch.rand(300, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = (noise * 255).to(torch.uint8)
    files = [encode_image(image, image_format="jpg", quality=95) for image in images]
    pieces = ImagePieces(tmp_path / "pieces", total=300, piece_size=50)
    for piece in pieces.pending():
        pieces.write(piece, [files[position] for position in pieces.positions(piece)])
    root = tmp_path / "set"
    named = layout.named(pieces)
    if format == "folder":
        write_image_folder(root, named, suffix="jpg")
    elif format == "rec":
        write_records(root, named, height=64, width=64)
    else:
        write_webdataset(root, named, suffix="jpg", shard_size=100)
    # Disks of the usual kind hand out blocks of 4 KiB.
    taken = {
        folder.name: sum(
            -(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file()
        )
        for folder in (pieces.folder, root)
    }
    options = ExportOptions(
        format=format, image_format="jpg", quality=95, batch_size=50, shard_size=100, licence=""
    )
    size = sum(map(len, files)) / 300
    for pending, actual in ((300, sum(taken.values())), (0, taken["set"])):
        needed = options.bytes_needed(file_size=size, images=300, pending=pending)
        assert actual <= needed < 1.2 * actual


def test_images_are_encoded_as_asked() -> None:
    image = torch.arange(3 * 16 * 16, dtype=torch.uint8).reshape(3, 16, 16)
    png = encode_image(image, image_format="png", quality=95)
    assert torch.equal(decode_rgb(png), image)
    coarse, fine = (
        encode_image(image, image_format="jpg", quality=quality) for quality in (20, 95)
    )
    assert coarse[:2] == fine[:2] == b"\xff\xd8"
    assert len(coarse) < len(fine)


def options(**changes: Any) -> ExportOptions:
    usual: dict[str, Any] = {
        "format": "folder",
        "image_format": "jpg",
        "quality": 95,
        "batch_size": 50,
        "shard_size": 100,
        "licence": "",
    }
    return ExportOptions(**usual | changes)


def test_only_what_decides_the_bytes_is_a_setting() -> None:
    """PNG files have no quality, and tar files alone have shards."""
    assert options().settings() != options(quality=90).settings()
    for one in (options(image_format="png"), options(image_format="png", quality=90)):
        assert one.settings()["quality"] is None
    assert options(shard_size=7).settings() == options().settings()
    shards = [options(format="webdataset", shard_size=n).settings() for n in (7, 100)]
    assert [each["shard_size"] for each in shards] == [7, 100]
    for edge in ({"quality": 1}, {"quality": 100}, {"batch_size": 1}, {"shard_size": 1}):
        assert options(**edge)
    for beyond in ({"quality": 0}, {"quality": 101}, {"batch_size": 0}, {"shard_size": 0}):
        with pytest.raises(ExportError, match=next(iter(beyond))):
            options(**beyond)


def test_a_level_of_difference_is_the_same_image(tmp_path: Path) -> None:
    place, probe = ExportPlace(tmp_path / "faces"), [[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]]
    place.keep({"probe": probe})
    for near in (1.0, -1.0):
        place.refuse_other({"probe": [probe[0], [40.0, 50.0, 60.0 + near]]})
    for other in ([probe[0], [40.0, 50.0, 61.1]], [probe[0], [40.0, 48.9, 60.0]], probe[:1], []):
        with pytest.raises(ExportError, match="images drawn otherwise"):
            place.refuse_other({"probe": other})
    with pytest.raises(ExportError, match="images=None, not 3"):
        place.refuse_other({"images": 3})


def test_a_place_is_an_empty_folder_or_a_set(tmp_path: Path) -> None:
    for name in ("empty", "set", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "set" / "card.json").write_text("{}")
    (tmp_path / "other" / "notes.txt").touch()
    assert not ExportPlace(tmp_path / "empty").finished
    assert ExportPlace(tmp_path / "set").finished
    with pytest.raises(ExportError, match="other is there already and is no exported set"):
        ExportPlace(tmp_path / "other")
    with pytest.raises(ExportError, match=r"card\.json is damaged; remove .*set to begin anew"):
        ExportPlace(tmp_path / "set").refuse_other({})
