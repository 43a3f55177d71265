"""What an export needs of the disk, against what it then writes."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from qdgs_lightning.callbacks.dataset_writer import encode_image
from qdgs_lightning.commands.export_layout import ExportLayout
from qdgs_lightning.commands.export_settings import ExportFormat, ExportOptions
from qdgs_lightning.datasets.export_formats import (
    write_image_folder,
    write_records,
    write_webdataset,
)
from qdgs_lightning.datasets.export_pieces import ImagePieces
from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.sampling import IdentityTable


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
