"""Optimizers whose schedule moves with every batch."""

from collections.abc import Iterable

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.nn import Parameter


def stepped_per_batch(
    parameters: Iterable[Parameter],
    optimizer: OptimizerCallable,
    scheduler: LRSchedulerCallable,
) -> OptimizerLRScheduler:
    """Build an injected optimizer and scheduler for `configure_optimizers`.

    Args:
        parameters: What to train.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the scheduler, stepped after every batch, from the optimizer.
    """
    built = optimizer(parameters)
    return {
        "optimizer": built,
        "lr_scheduler": {"scheduler": scheduler(built), "interval": "step"},
    }
