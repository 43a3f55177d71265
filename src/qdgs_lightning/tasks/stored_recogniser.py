"""A recogniser for the commands ``qdgs data ...``: of a run of ours, or of weights of others."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast

import torch
import yaml
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from qdgs_lightning.datasets.image_decoding import ImageDecodingError, decode_rgb
from qdgs_lightning.datasets.resizing import ResizingError, fit_square
from qdgs_lightning.models import (
    Backbone,
    ColorChoice,
    create_backbone,
    load_backbone_weights,
)
from qdgs_lightning.parsing.parser import Parser
from qdgs_lightning.tasks import FaceRecognizer
from qdgs_lightning.utils.console import DataError, counting


def open_recogniser(
    *,
    run: Path | None,
    checkpoint: Path | None,
    backbone: str | None,
    image_size: int,
    color_order: ColorChoice = "auto",
    entry: str | None = None,
) -> tuple[FaceRecognizer, int]:
    """Build a recogniser and load its weights; it has no head and is in evaluation mode.

    Args:
        run: A run folder of `qdgs fit`, whose configuration says which backbone it is.
        checkpoint: Its weights.
        backbone: In place of a run, a name that `create_backbone` knows, for weights of others.
        image_size: Side of the images that a named backbone takes.
        color_order: See `load_backbone_weights`.
        entry: See `load_backbone_weights`.

    Returns:
        The recogniser, and the side of the images that it takes: that of the backbone, or of the
        run's data where the backbone says none.

    Raises:
        DataError: Both or neither of a run and a backbone is named, or a file is missing.
        BackboneError: The weights are of another backbone, damaged or unsafe.
    """
    if (run is None) == (backbone is None):
        raise DataError(
            "Give either --run, a run folder of qdgs fit, or --backbone and --checkpoint, a "
            "network and a file of its weights."
        )
    if run is not None:
        built, image_size = _backbone_of(run / "config.yaml")
    else:
        built = create_backbone(cast(str, backbone), image_size=image_size)
    if checkpoint is None or not checkpoint.is_file():
        raise DataError(f"There is no file of weights {checkpoint or ''}; give it as --checkpoint.")
    load_backbone_weights(cast(Backbone, built), checkpoint, color_order=color_order, entry=entry)
    size = int(getattr(built, "image_size", image_size))
    return FaceRecognizer(backbone=built).eval(), size


def _backbone_of(config: Path) -> tuple[nn.Module, int]:
    """Build the backbone that the configuration of a run names, and read the size of its images.

    Raises:
        DataError: There is none.
    """
    if not config.is_file():
        raise DataError(f"There is no {config}; give --run, a run folder of qdgs fit.")
    try:
        values = yaml.safe_load(config.read_text())
        named = values["model"]["init_args"]["backbone"]
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{config} names no backbone; give the run folder of a fit of FaceRecognizer."
        ) from error
    data = values.get("data")
    settings = data.get("init_args") if isinstance(data, dict) else None
    size = int((settings or {}).get("image_size", 112))
    if isinstance(named, str):
        return create_backbone(named, image_size=size), size
    parser = Parser()
    parser.add_argument("--backbone", type=nn.Module)
    built = parser.instantiate(parser.parse_object({"backbone": named})).backbone
    return cast(nn.Module, built), size


class EncodedImages(Protocol):
    """Image files of a set, however it is kept."""

    def encoded(self, index: int) -> bytes:
        """Return the contents of one."""

    def source(self, index: int) -> str:
        """Say where it is."""


class _Rows(Dataset[Tensor]):
    """Some images of a source, each brought to one size."""

    def __init__(self, source: EncodedImages, rows: list[int], size: int) -> None:
        self.source, self.rows, self.size = source, rows, size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        """Return an image, uint8 RGB ``[3, size, size]``."""
        row = self.rows[index]
        try:
            return fit_square(decode_rgb(self.source.encoded(row)), self.size)
        except (ImageDecodingError, ResizingError) as error:
            raise DataError(
                f"{self.source.source(row)} is bad ({str(error).rstrip('.')}); remove or mend it."
            ) from error


def embed_rows(
    recogniser: FaceRecognizer,
    source: EncodedImages,
    rows: Iterable[int],
    *,
    size: int,
    batch_size: int,
    num_workers: int,
    accelerator: str,
) -> Tensor:
    """Embed images as `qdgs test` does, with a progress bar.

    Args:
        recogniser: Of `open_recogniser`.
        source: Where images come from, such as `FaceFolderDataset`.
        rows: Which of them.
        size: Side to which images are brought.
        batch_size: Images at once.
        num_workers: Processes that decode.
        accelerator: Where to compute: cpu, cuda, mps, or auto.

    Returns:
        Embeddings of length one, float32 on the CPU, shape ``[n, d]``.

    Raises:
        DataError: The accelerator cannot be had.
        QDGSError: An image cannot be read.
    """
    try:
        device = Fabric(accelerator=accelerator, devices=1).device
    except (ValueError, RuntimeError) as error:
        raise DataError(
            f"accelerator is {accelerator}, which cannot be had here ({error}); give another, such "
            "as cpu."
        ) from error
    recogniser = recogniser.to(device)
    images = _Rows(source, list(rows), size)
    loader = iter(DataLoader(images, batch_size=batch_size, num_workers=num_workers))
    found = []
    with torch.inference_mode(), counting("Embedding", len(images)) as advance:
        for batch in loader:
            found.append(recogniser.embed(batch.to(device).float() / 255).cpu())
            for _ in batch:
                advance()
    return torch.cat(found)
