"""A run that goes on from within an epoch, or from its end, shows what the whole run would have."""

import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from qdgs_lightning.datamodules import FaceDataModule
from qdgs_lightning.datasets.resumable_loading import ResumableLoader, ResumableSampler
from qdgs_lightning.sampling import PriorSampler
from tests.datamodules.test_faces import Recorder, trainer
from tests.faces import write_training_set
from tests.identities.identity_toys import BINS, fit, toy_data


class Keeper(Callback):
    """Saves a checkpoint after every batch, validation and epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Save."""
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}-{batch_idx}.ckpt")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save."""
        batch = trainer.fit_loop.batch_idx
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}-{batch}-validated.ckpt")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save."""
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}-end.ckpt")


class Learner(Recorder):
    """Keeps the batches that it gets, and takes a step for each."""

    automatic_optimization = True

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # type: ignore[override]  # noqa: ANN401
        """Keep it."""
        super().training_step(batch, batch_idx)
        return self.weight

    def configure_optimizers(self) -> SGD:  # type: ignore[override]
        """Train a number that nobody asks for."""
        return SGD(self.parameters(), lr=0.1)


def same(batches: list[Any], others: list[Any]) -> bool:
    """Whether images and classes, the last two of each batch, are the same."""
    pairs = zip(batches, others, strict=True)
    return all(torch.equal(a[i], b[i]) for a, b in pairs for i in (-2, -1))


def test_batches_of_files_go_on_with_workers_and_without(tmp_path: Path) -> None:
    root = write_training_set(tmp_path / "set")

    def run(workers: int, checkpoint: Path | None = None, **options: Any) -> list[Any]:
        learner = Learner()
        data = FaceDataModule(train=root, batch_size=4, num_workers=workers)
        trainer(tmp_path, **options).fit(
            learner, datamodule=data, ckpt_path=checkpoint, weights_only=True
        )
        return learner.train_batches

    whole = run(0, max_epochs=2, callbacks=[Keeper(tmp_path)])
    assert len(whole) == 2 * 8
    for name, shown in (("0-2", 3), ("0-7", 8), ("0-end", 8), ("1-2", 11)):
        for limit in ({"max_epochs": 2}, {"max_steps": 16}):
            for workers in (0, 2):
                with warnings.catch_warnings():
                    warnings.filterwarnings("error", ".*not resumable")
                    rest = run(workers, tmp_path / f"{name}.ckpt", **limit)
                assert same(rest, whole[shown:]), (name, limit, workers)


def test_synthetic_batches_go_on(tmp_path: Path) -> None:
    def run(checkpoint: Path | None = None, **options: Any) -> list[tuple[Tensor, Tensor]]:
        data = toy_data(sampler=PriorSampler(bins=BINS, evaluations=200))
        recorder, _ = fit(tmp_path, data, epochs=2, checkpoint=checkpoint, **options)
        return [batch for epoch in sorted(recorder.batches) for batch in recorder.batches[epoch]]

    whole = run(callbacks=[Keeper(tmp_path)])
    assert len(whole) == 2 * 8
    for name, shown in (("0-2", 3), ("0-end", 8), ("1-6", 15)):
        assert same(run(tmp_path / f"{name}.ckpt"), whole[shown:])


def test_outside_of_a_fit_a_loader_begins_at_the_beginning(tmp_path: Path) -> None:
    ours = trainer(tmp_path, max_epochs=1)
    dataset = TensorDataset(torch.arange(12))
    sampler = ResumableSampler(
        dataset, trainer=ours, batch_size=2, num_replicas=1, rank=0, shuffle=False
    )
    loader: DataLoader[Any] = ResumableLoader(dataset, batch_size=2, sampler=sampler)

    class Plain(Recorder):
        """Keeps numbers."""

        def training_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
            """Keep them."""
            seen.append(batch[0].tolist())

    seen: list[list[int]] = []
    ours.fit(Plain(), loader)
    assert seen == [batch[0].tolist() for batch in loader]
    assert len(seen) == len(loader) == 6
