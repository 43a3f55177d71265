"""Checkpoint files that are whole or not there."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.files import replacing


class CheckpointSaveError(QDGSError):
    """A checkpoint that cannot be written."""


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and puts it there once it is whole.

    Lightning's own writes into the system's folder for temporary files and moves the file from
    there, which is a copy where that is another disk: a full disk or a kill then leaves half a file
    in the place of the former ``last.ckpt``. It also builds the whole file in memory first; this
    one does not.

    Example:
        >>> trainer = Trainer(plugins=[WholeCheckpointIO()])
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401 (Lightning's)
    ) -> None:
        """Write a checkpoint; what goes to another place than a disk is left to Lightning.

        Args:
            checkpoint: What to write.
            path: The file; its folder is made if need be.
            storage_options: Must be None.

        Raises:
            CheckpointSaveError: It cannot be written; what was there before is unchanged.
        """
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            with replacing(Path(path)) as unfinished, unfinished.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # On a full disk, torch finds itself at an unexpected place of the file; why it is there
            # is the error behind.
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise CheckpointSaveError(
                f"The checkpoint cannot be saved to {path} ({reason.strerror or reason}); free "
                "space or choose another place; what was there before is unchanged."
            ) from error


def keep_checkpoints_whole(trainer: Trainer) -> None:
    """Let a trainer write checkpoints by `WholeCheckpointIO`, unless it was given another way.

    Args:
        trainer: Before ``fit``.
    """
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpointIO()
