"""Exported weights lie in the folder of their run, whatever logger comes first."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from qdgs_lightning.callbacks import ExportWeights
from qdgs_lightning.errors import QDGSError
from tests.boring import BoringData, BoringTask


class _ExportedTask(BoringTask):
    """Writes its line."""

    def export(self, path: Path) -> None:
        """Write weight and bias."""
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(self.line.state_dict(), path)


def _fit(folder: Path, *, devices: int = 1, wandb: bool = False) -> None:
    csv = CSVLogger(folder, name="run", version="3")
    loggers = [WandbLogger(save_dir=folder, offline=True), csv] if wandb else [csv]
    Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        max_epochs=1,
        logger=loggers,
        callbacks=[ExportWeights("line")],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(_ExportedTask(), BoringData())


def test_weights_lie_in_the_run_folder(tmp_path: Path) -> None:
    _fit(tmp_path, wandb=True)
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["line.safetensors"]
    assert (tmp_path / "run" / "3" / "line.safetensors").exists()


def test_two_processes_end_and_write_once(tmp_path: Path) -> None:
    _fit(tmp_path, devices=2)
    assert (tmp_path / "run" / "3" / "line.safetensors").exists()


def test_a_task_with_nothing_to_export_is_refused() -> None:
    trainer = Trainer(
        logger=False, accelerator="cpu", enable_checkpointing=False, callbacks=[ExportWeights("x")]
    )
    with pytest.raises(QDGSError, match="BoringTask has no weights to export"):
        trainer.fit(BoringTask(), BoringData())
