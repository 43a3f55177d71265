"""After a restart, training goes on as with a new optimizer, and only then."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from qdgs_lightning.callbacks import RestartOptimizer
from qdgs_lightning.errors import QDGSError
from tests.boring import BoringData, BoringTask


class AdamTask(BoringTask):
    """The same least squares, by Adam."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def _fit(task: AdamTask, folder: Path, *, epochs: int, restart: int | None = None) -> None:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[] if restart is None else [RestartOptimizer(epoch=restart)],
    )
    trainer.fit(task, datamodule=BoringData())


def _task() -> AdamTask:
    torch.manual_seed(0)
    return AdamTask()


def test_training_goes_on_as_with_a_new_optimizer(tmp_path: Path) -> None:
    restarted, in_two_fits, kept = _task(), _task(), _task()
    _fit(restarted, tmp_path, epochs=5, restart=3)
    _fit(in_two_fits, tmp_path, epochs=3)
    _fit(in_two_fits, tmp_path, epochs=2)
    _fit(kept, tmp_path, epochs=5, restart=9)
    assert torch.equal(restarted.line.weight, in_two_fits.line.weight)
    assert not torch.allclose(restarted.line.weight, kept.line.weight)


def test_an_epoch_below_zero_is_refused() -> None:
    with pytest.raises(QDGSError, match="not -1"):
        RestartOptimizer(epoch=-1)
