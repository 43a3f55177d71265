"""Rates of resumed fits: those of the configuration, at the place of the checkpoint."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from qdgs_lightning.callbacks import ConfiguredRates
from tests.boring import BoringData, BoringTask

Scheduler = Callable[[Optimizer], Any]


class Scheduled(BoringTask):
    """Notes the rate of each epoch, of two batches."""

    def __init__(
        self, scheduler: Scheduler | None, *, lr: float = 0.01, interval: str = "epoch"
    ) -> None:
        super().__init__(lr=lr)
        self.scheduler, self.interval = scheduler, interval
        self.rates: list[float] = []
        torch.nn.init.zeros_(self.line.weight)
        torch.nn.init.zeros_(self.line.bias)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Note the rate."""
        self.rates.append(float(self.trainer.optimizers[0].param_groups[0]["lr"]))
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> OptimizerLRScheduler:  # type: ignore[override]
        """Make both."""
        optimizer = SGD(self.parameters(), lr=self.lr, momentum=0.9)
        if self.scheduler is None:
            return optimizer
        scheduler = {"scheduler": self.scheduler(optimizer), "interval": self.interval}
        return cast(
            OptimizerLRScheduler,
            {"optimizer": optimizer, "lr_scheduler": scheduler | {"monitor": "train/loss"}},
        )


def fit(folder: Path, task: BoringTask, epochs: int, checkpoint: Path | None = None) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        callbacks=[ConfiguredRates()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=epochs,
    )
    trainer.fit(task, datamodule=BoringData(), ckpt_path=checkpoint, weights_only=True)
    return trainer


def resumed(folder: Path, before: Scheduled, after: Scheduled) -> list[float]:
    """Rates of two epochs after the second, one each."""
    fit(folder, before, 2).save_checkpoint(folder / "last.ckpt")
    fit(folder, after, 4, folder / "last.ckpt")
    return after.rates[::2]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            lambda o: PolynomialLR(o, total_iters=2),
            lambda o: PolynomialLR(o, total_iters=8),
            [0.0075, 0.00625],
        ),
        (
            lambda o: CosineAnnealingLR(o, T_max=2),
            lambda o: CosineAnnealingLR(o, T_max=8),
            [0.005 * (1 + math.cos(math.pi * epoch / 8)) for epoch in (2, 3)],
        ),
        (lambda o: StepLR(o, step_size=2), lambda o: StepLR(o, step_size=8), [0.01, 0.01]),
        (lambda o: MultiStepLR(o, [2]), lambda o: MultiStepLR(o, [3]), [0.01, 0.001]),
        (
            lambda o: StepLR(o, step_size=2),
            lambda o: LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
            [0.01 / 3, 0.01 / 4],
        ),
        (
            lambda o: StepLR(o, step_size=2),
            lambda o: SequentialLR(
                o, [LinearLR(o, start_factor=0.5, total_iters=2), StepLR(o, 1)], milestones=[3]
            ),
            [0.01, 0.01],
        ),
        (lambda o: StepLR(o, step_size=2), None, [0.01, 0.01]),
        (None, lambda o: PolynomialLR(o, total_iters=8), [0.0075, 0.00625]),
        (
            lambda o: OneCycleLR(o, 0.01, total_steps=4),
            lambda o: ReduceLROnPlateau(o, patience=9),
            [0.01, 0.01],
        ),
    ],
)
def test_a_new_schedule_goes_on_at_its_own_rate_of_that_epoch(
    tmp_path: Path, before: Scheduler | None, after: Scheduler | None, expected: list[float]
) -> None:
    assert resumed(tmp_path, Scheduled(before), Scheduled(after)) == pytest.approx(expected)


def test_a_schedule_of_steps_goes_on_at_the_step(tmp_path: Path) -> None:
    def cycle(total: int) -> Scheduled:
        return Scheduled(lambda o: PolynomialLR(o, total_iters=total), interval="step")

    found = resumed(tmp_path, cycle(4), cycle(16))
    assert found == pytest.approx([0.01 * (1 - step / 16) for step in (4, 6)])


def test_a_new_rate_is_that_of_the_fit_and_moments_stay(tmp_path: Path) -> None:
    assert resumed(tmp_path, Scheduled(None), Scheduled(None, lr=0.5)) == [0.5, 0.5]
    old = torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"][0]
    task = Scheduled(None, lr=0.0)
    trainer = fit(tmp_path, task, 2, tmp_path / "last.ckpt")  # which has no epoch left
    (moment, *_) = trainer.optimizers[0].state_dict()["state"].values()
    assert torch.equal(moment["momentum_buffer"], old["state"][0]["momentum_buffer"])


@pytest.mark.parametrize("scheduler", [None, lambda o: CosineAnnealingLR(o, T_max=4)])
def test_a_fit_that_is_configured_alike_goes_on_to_the_last_bit(
    tmp_path: Path, scheduler: Scheduler | None
) -> None:
    whole = Scheduled(scheduler)
    fit(tmp_path, whole, 4)
    rates = resumed(tmp_path, Scheduled(scheduler), half := Scheduled(scheduler))
    assert rates == whole.rates[4::2]
    assert torch.equal(half.line.weight, whole.line.weight)


def test_a_checkpoint_without_a_note_goes_on_as_pytorch_has_it(tmp_path: Path) -> None:
    fit(tmp_path, Scheduled(None), 2).save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    del checkpoint["configured_rates"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    task = Scheduled(None, lr=0.5)
    fit(tmp_path, task, 3, tmp_path / "old.ckpt")
    assert task.rates == [0.01, 0.01]
