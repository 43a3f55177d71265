"""Randomness of a training step, apart on every rank and equal after a resume."""

import torch
from lightning.pytorch import LightningModule

from qdgs_lightning.utils.seeding import seeded_generator


def step_generator(task: LightningModule, seed: int, batch_idx: int) -> torch.Generator:
    """Make the source of one step's randomness, on the device of its task.

    Args:
        task: In training; says rank and epoch.
        seed: As `check_seed` takes it.
        batch_idx: Which batch of the epoch.
    """
    step = seeded_generator(seed, task.global_rank, task.trainer.current_epoch, batch_idx)
    return torch.Generator(device=task.device).manual_seed(step.initial_seed())
