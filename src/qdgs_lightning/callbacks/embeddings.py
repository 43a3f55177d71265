"""Writing the embeddings of a dataset to files, as they are made."""

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.loggers import run_folder
from qdgs_lightning.utils.atomic_files import replacing


@runtime_checkable
class NamedSource(Protocol):
    """A datamodule that says what its predicted images are."""

    names: list[str]
    identities: list[int]


class EmbeddingWriter(BasePredictionWriter):
    """Keeps what ``qdgs predict`` embeds in the run folder; a configuration need not name it.

    ``embeddings.npy`` has one row of unit length for every image, float32 ``[n, d]``, and
    ``embeddings.csv`` says in the same order what it is of: ``name``, the key of a record, a path
    below the folder or the place in a ``.bin`` file (rows 2k and 2k + 1 are pair k of it), and
    ``identity``, -1 where it is not known.

    Rows go to the file as they are made, so that any number fits; on several nodes the run folder
    must be on a disk that they share. A trial run (``fast_dev_run``) writes nothing.

    Raises:
        QDGSError: The datamodule does not name its images, or the trainer did not go through all
            of them.
    """

    def __init__(self) -> None:
        super().__init__(write_interval="batch")
        self._unfinished = ExitStack()
        self._rows: np.memmap[Any, np.dtype[np.float32]] | None = None
        self._path = Path()

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Tensor,
        batch_indices: object,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the rows of one batch."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        rows = prediction.float().cpu().numpy()
        if self._rows is None:
            self._rows = self._open(trainer, rows.shape[1])
        self._rows[batch[1].cpu().numpy()] = rows

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the files in their place once every rank is done."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        source, file = _source(trainer), run_folder(trainer) / "embeddings.npy"
        if self._rows is not None:
            self._rows.flush()
        trainer.strategy.barrier()
        # Of unit length, no row is zero throughout once any rank has written it.
        embedded = 0 if self._rows is None else int(self._rows.any(axis=1).sum())
        embedded = trainer.strategy.broadcast(embedded)  # a later rank may have had no batch
        self._rows = None
        if embedded < len(source.names):
            raise QDGSError(
                f"{embedded:,} of {len(source.names):,} images were embedded, and {file} is not "
                "written without the others: take `limit_predict_batches` out."
            )
        self._unfinished.close()
        if trainer.is_global_zero:
            with (
                replacing(file.with_suffix(".csv")) as path,
                path.open("w", newline="") as listing,
            ):
                rows = zip(source.names, source.identities, strict=True)
                csv.writer(listing).writerows([("name", "identity"), *rows])
        rank_zero_info(f"Embeddings written to {file}")

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing half-written."""
        self._rows = None
        self._unfinished.__exit__(type(exception), exception, None)

    def _open(self, trainer: L.Trainer, size: int) -> "np.memmap[Any, np.dtype[np.float32]]":
        """Map the file that all ranks write to; rank zero makes it."""
        final = run_folder(trainer) / "embeddings.npy"
        path = str(final)
        if trainer.is_global_zero:
            path = str(self._unfinished.enter_context(replacing(final)))
            shape = (len(_source(trainer).names), size)
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape).flush()
        path = trainer.strategy.broadcast(path)
        return np.lib.format.open_memmap(path, mode="r+")


def _source(trainer: L.Trainer) -> NamedSource:
    """Return what names the images."""
    source = getattr(cast(Any, trainer).datamodule, "predict_images", None)
    if not isinstance(source, NamedSource):
        raise QDGSError(
            "EmbeddingWriter needs a datamodule that names its images, such as FaceDataModule."
        )
    return source
