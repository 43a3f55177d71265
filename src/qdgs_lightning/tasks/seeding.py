"""Randomness of a training step, apart on every rank and equal after a resume."""

import torch
from lightning.pytorch import LightningModule

from qdgs_lightning.errors import QDGSError


def check_seed(seed: int) -> None:
    """Refuse seeds that leave no room for rank and step.

    Raises:
        QDGSError: The seed lies outside [0, 2^16).
    """
    if not 0 <= seed < 2**16:
        raise QDGSError(f"seed is {seed}; give a whole number from 0 to 65535.")


def step_generator(task: LightningModule, seed: int, batch_idx: int) -> torch.Generator:
    """Make the source of one step's randomness, on the device of its task.

    Args:
        task: In training; says rank and epoch.
        seed: As `check_seed` takes it.
        batch_idx: Which batch of the epoch.
    """
    step = task.trainer.current_epoch << 20 | batch_idx
    source = torch.Generator(device=task.device)
    return source.manual_seed((seed << 48) + (task.global_rank << 40) + step)
