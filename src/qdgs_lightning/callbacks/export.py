"""Writing a trained generator or judge to the small file that the rest of the package loads."""

from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.loggers import run_folder


@runtime_checkable
class Exportable(Protocol):
    """A task whose result is one file of weights."""

    def export(self, path: Path) -> None:
        """Write the weights."""


class ExportWeights(L.Callback):
    """Writes the weights into the run folder when training ends.

    List it after a weight-averaging callback, so that the averaged weights are written.

    Args:
        name: File name, without its ending, inside the run folder.

    Raises:
        QDGSError: The task has nothing to export.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse tasks without an export before any time is spent."""
        if not isinstance(pl_module, Exportable):
            raise QDGSError(
                f"{type(pl_module).__name__} has no weights to export: remove ExportWeights from "
                "the callbacks."
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the files, once for all ranks; a trial run is not worth any."""
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        path = run_folder(trainer) / f"{self.name}.safetensors"
        cast(Exportable, pl_module).export(path)
        rank_zero_info(f"Weights written to {path}")
