"""Writing images as they are drawn, in pieces that a stopped export goes on from."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from typing import Literal, Protocol, cast

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from torch import Tensor

from qdgs_lightning.datasets.records.packing import encode_jpeg
from qdgs_lightning.export.shards import ImagePieces
from qdgs_lightning.utils.progress import Meter, progress

ImageFormat = Literal["jpg", "png"]
_THREADS = 4  # one GPU draws about as many crops a second as four of them encode


class DrawnPieces(Protocol):
    """A task whose predictions are images that belong into pieces."""

    pieces: ImagePieces


def encode_image(image: Tensor, *, image_format: ImageFormat, quality: int) -> bytes:
    """Encode an image.

    Args:
        image: uint8 RGB, shape ``[3, H, W]``, on the CPU.
        image_format: ``jpg`` or ``png``.
        quality: Of JPEG files, 1 to 100.
    """
    if image_format == "jpg":
        return encode_jpeg(image, quality=quality)
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG")
    return file.getvalue()


class DatasetWriter(BasePredictionWriter):
    """Encodes the images of each batch and writes them as the piece that they are.

    A batch is ``(number of the piece, ...)``, a prediction its images, uint8 RGB ``[n, 3, H, W]``
    on the CPU; the task holds the pieces, see `DrawnPieces`. Every rank writes its own.

    Args:
        image_format: ``jpg`` or ``png``.
        quality: Of JPEG files, 1 to 100.
    """

    def __init__(self, *, image_format: ImageFormat, quality: int) -> None:
        super().__init__(write_interval="batch")
        self._encode = partial(encode_image, image_format=image_format, quality=quality)
        self._open = ExitStack()
        self._threads: ThreadPoolExecutor | None = None
        self._meter: Meter | None = None
        self._world = 1

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show how far it is, and start the threads that encode."""
        pieces = cast(DrawnPieces, pl_module).pieces
        to_do = sum(len(pieces.positions(piece)) for piece in pieces.pending())
        threads = min(_THREADS, os.cpu_count() or 1)
        self._threads = self._open.enter_context(ThreadPoolExecutor(threads))
        self._world = trainer.world_size
        total, shown = pieces.total, trainer.is_global_zero
        self._meter = self._open.enter_context(
            progress("Drawing", total, start=total - to_do, unit="images", shown=shown)
        )

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Tensor,
        batch_indices: object,
        batch: tuple[int, Tensor],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one piece."""
        assert self._threads is not None
        assert self._meter is not None
        files = list(self._threads.map(self._encode, prediction))
        cast(DrawnPieces, pl_module).pieces.write(int(batch[0]), files)
        # Ranks do equal shares, so that the first one speaks for all.
        done = self._meter.done + len(files) * self._world
        self._meter.update(min(done, self._meter.total))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the bar away."""
        self._open.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away; whole pieces stay."""
        self._open.close()
