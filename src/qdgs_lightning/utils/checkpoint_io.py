"""Checkpoint files: whole or not there when written, told in a sentence when of no use."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from qdgs_lightning.errors import ConfigError, QDGSError
from qdgs_lightning.utils.atomic_files import replacing

# What torch says of the first weight that does not fit, and how we say it.
_DIFFERENCES = (
    (r'Missing key\(s\) in state_dict: "([^"]+)"', r"it has no \1"),
    (r'Unexpected key\(s\) in state_dict: "([^"]+)"', r"its \1 is not in this model"),
    (
        r"size mismatch for (\S+): .*torch\.Size\((.*?)\) from .*torch\.Size\((.*?)\)",
        r"its \1 has the shape \2, here \3",
    ),
)


class CheckpointSaveError(QDGSError):
    """A checkpoint that cannot be written."""


class CheckpointMismatchError(QDGSError):
    """A checkpoint of another model than the one that is to take its weights."""


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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Open a checkpoint of a fit; weights stay on the disk until they are used.

    Args:
        path: The file.

    Returns:
        What Lightning saved, ``state_dict`` among it.

    Raises:
        ConfigError: It is missing, or no checkpoint.
    """
    if not path.is_file():
        raise ConfigError(
            f"There is no checkpoint '{path.absolute()}': runs keep theirs in "
            "<run folder>/checkpoints."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ConfigError(
            f"'{path}' cannot be read as a checkpoint: give a .ckpt file that qdgs fit wrote."
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ConfigError(f"'{path}' holds no state_dict: give a .ckpt file that qdgs fit wrote.")
    return checkpoint


def check_resumable(path: str, callbacks: Sequence[Callback], folder: Path) -> None:
    """Make sure that a fit finds a checkpoint, and can go on from it.

    Args:
        path: The ``ckpt_path`` of the fit: a file, an address, or ``last`` or ``hpc``, which
            Lightning looks for.
        callbacks: Of the fit; ``last`` is a file of one of its `ModelCheckpoint`.
        folder: Of the run, where they keep their files unless they have a ``dirpath``.

    Raises:
        ConfigError: There is none, or it holds weights alone.
    """
    if path == "last":
        savers = [each for each in callbacks if isinstance(each, ModelCheckpoint)]
        names = [
            (Path(each.dirpath or folder / "checkpoints"), each.CHECKPOINT_NAME_LAST)
            for each in savers
        ]
        if not any(any(place.glob(f"{name}*.ckpt")) for place, name in names):
            raise ConfigError(
                "There is no checkpoint 'last' in the new folder of this run: give the file of the "
                "run that is to go on, RUN/checkpoints/last.ckpt."
            )
        return
    if path == "hpc" or "://" in path:
        return
    if "optimizer_states" not in read_checkpoint(Path(path)):
        raise ConfigError(
            f"'{path}' holds weights alone (save_weights_only), from which no fit can be resumed: "
            "give it as `model.init_args.init_from`, which begins a new fit with them, or give a "
            "checkpoint that has an optimizer."
        )


def mismatch(path: str | Path, error: RuntimeError) -> CheckpointMismatchError | None:
    """Say in one sentence what ``load_state_dict`` complains of in a listing of all weights.

    Args:
        path: The checkpoint.
        error: What loading it raised.

    Returns:
        What to raise instead; None if the error is no such complaint.
    """
    text = str(error)
    if not text.startswith("Error(s) in loading state_dict for "):
        return None
    found = ((re.search(said, text), ours) for said, ours in _DIFFERENCES)
    first = next((f" ({match.expand(ours)})" for match, ours in found if match), "")
    return CheckpointMismatchError(
        f"'{path}' is a checkpoint of another model than the configuration's{first}: give "
        "--config and --ckpt_path of one run."
    )
