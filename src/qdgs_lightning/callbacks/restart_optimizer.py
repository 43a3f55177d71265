"""A fresh start of the optimizer where training turns to other data."""

from lightning.pytorch import Callback, LightningModule, Trainer

from qdgs_lightning.errors import QDGSError


class RestartOptimizer(Callback):
    """Lets the optimizer forget what it gathered before an epoch, as a new phase begins.

    Adam divides by a running mean of squared gradients. A phase that ends with a loss near zero
    leaves a tiny one, and the first steps on other data are then many times too long: in two of
    nine runs they silenced every unit of the shapes classifier for good. The publication, too,
    makes a new optimizer for its second phase.

    Args:
        epoch: First epoch of the new phase, counted from 0.

    Raises:
        QDGSError: The epoch is negative.
    """

    def __init__(self, *, epoch: int) -> None:
        if epoch < 0:
            raise QDGSError(f"RestartOptimizer needs an epoch of at least 0, not {epoch}.")
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget, if this is the epoch."""
        if trainer.current_epoch == self.epoch:
            for optimizer in trainer.optimizers:
                optimizer.state.clear()
