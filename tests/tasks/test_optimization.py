"""Warm-up beside a schedule, and which weights decay."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
)
from torch.utils.data import DataLoader, TensorDataset

from qdgs_lightning.errors import ConfigError
from qdgs_lightning.tasks.optimization import ScheduledModule, decay_groups, warmed_up


def rates(scheduler: object, interval: str, warmup_steps: int) -> list[float]:
    """Return the rate of twelve steps, three epochs of four."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    _, schedulers = warmed_up(
        optimizer,
        scheduler,  # type: ignore[arg-type]
        interval=interval,  # type: ignore[arg-type]
        warmup_steps=warmup_steps,
    )
    found = []
    for step in range(12):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        for entry in schedulers:
            if entry["interval"] == "step" or step % 4 == 3:
                entry["scheduler"].step()
    return found


def test_the_rate_rises_in_a_line_and_milestones_count_from_the_beginning() -> None:
    found = rates(lambda o: MultiStepLR(o, [1, 2], gamma=0.1), "epoch", warmup_steps=4)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1] + 4 * [0.1] + 4 * [0.01])
    # A rise that lasts beyond the first milestone goes on.
    found = rates(lambda o: MultiStepLR(o, [1], gamma=0.1), "epoch", warmup_steps=6)
    rise = [min(1, (step + 1) / 6) for step in range(12)]
    assert found == pytest.approx([r * (0.1 if k >= 4 else 1) for k, r in enumerate(rise)])


def test_a_fall_by_step_goes_on_under_the_warm_up() -> None:
    found = rates(lambda o: PolynomialLR(o, 12), "step", warmup_steps=3)
    assert found == pytest.approx([min(1, (step + 1) / 3) * (1 - step / 12) for step in range(12)])


def test_without_warm_up_the_scheduler_acts_alone_and_may_be_any() -> None:
    found = rates(lambda o: LambdaLR(o, lambda epoch: 1 / (1 + epoch)), "epoch", warmup_steps=0)
    assert found == pytest.approx(4 * [1] + 4 * [1 / 2] + 4 * [1 / 3])
    assert rates(None, "epoch", warmup_steps=0) == 12 * [1]


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: LambdaLR(o, lambda _: 1.0),
        lambda o: LambdaLR(o, lambda step: step / 100),
        lambda o: OneCycleLR(o, 1.0, total_steps=12, cycle_momentum=False),
        lambda o: CyclicLR(o, 0.1, 1.0, cycle_momentum=False),
        lambda o: CosineAnnealingWarmRestarts(o, 6),
        lambda o: SequentialLR(o, [ConstantLR(o, 1.0), CosineAnnealingLR(o, 8)], [2]),
    ],
)
def test_schedulers_that_would_undo_the_warm_up_are_refused(
    scheduler: Callable[[Optimizer], LRScheduler],
) -> None:
    with pytest.raises(ConfigError, match=r"(LR|Restarts) does not go together.* and not 0\.33"):
        rates(scheduler, "step", warmup_steps=3)
    assert rates(scheduler, "step", warmup_steps=0)


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: MultiStepLR(o, [3, 7]),
        lambda o: PolynomialLR(o, 12, power=2),
        lambda o: CosineAnnealingLR(o, 12),
        lambda o: ExponentialLR(o, 0.9),
        lambda o: MultiplicativeLR(o, lambda _: 0.8),
    ],
)
def test_schedulers_that_multiply_go_on_under_the_warm_up(
    scheduler: Callable[[Optimizer], LRScheduler],
) -> None:
    alone = rates(scheduler, "step", warmup_steps=0)
    rise = [min(1, (step + 1) / 5) for step in range(12)]
    expected = [r * rate for r, rate in zip(rise, alone, strict=True)]
    assert rates(scheduler, "step", warmup_steps=5) == pytest.approx(expected)


def test_what_does_not_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.Linear(4, 2))
    network[3].bias.requires_grad = False
    names = {id(parameter): name for name, parameter in network.named_parameters()}

    def spared(undecayed: str) -> set[str]:
        first, *rest = decay_groups(network, undecayed)  # type: ignore[arg-type]
        assert "weight_decay" not in first
        assert all(group["weight_decay"] == 0 for group in rest)
        groups = [{names[id(p)] for p in g["params"]} for g in (first, *rest)]  # type: ignore[attr-defined]
        everything: set[str] = set().union(*groups)
        assert everything == set(names.values()) - {"3.bias"}  # which is not trained
        assert sum(map(len, groups)) == len(everything)
        return set().union(*groups[1:])

    assert spared("none") == set()
    assert spared("batch_norm") == {"1.weight", "1.bias"}
    assert spared("vectors") == {"0.bias", "1.weight", "1.bias", "2.weight"}


class Line(ScheduledModule):
    """Learns one number in four batches an epoch."""

    def __init__(self, total: int, interval: str = "step") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.total, self.interval = total, interval
        self.rates: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Note the rate."""
        self.rates.append(float(self.trainer.optimizers[0].param_groups[0]["lr"]))
        return (self.weight - batch[0]).square().mean()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Go through one cycle."""
        optimizer = SGD([self.weight], lr=1.0)
        found = warmed_up(
            optimizer,
            lambda o: OneCycleLR(o, 1.0, total_steps=self.total, cycle_momentum=False),
            interval=self.interval,  # type: ignore[arg-type]
            warmup_steps=0,
        )
        return cast(OptimizerLRScheduler, found)


def fit(folder: Path, line: Line, checkpoint: Path | None = None, **options: Any) -> Trainer:
    """Fit with four batches an epoch."""
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(
        line, DataLoader(TensorDataset(torch.ones(4))), ckpt_path=checkpoint, weights_only=True
    )
    return trainer


@pytest.mark.parametrize(
    ("total", "interval", "options", "takes"),
    [
        (11, "step", {"max_epochs": 3}, "12"),
        (5, "step", {"max_epochs": 3, "accumulate_grad_batches": 2}, "6"),
        (8, "step", {"max_epochs": -1, "max_steps": 9}, "9"),
        (2, "epoch", {"max_epochs": 3}, "3"),
    ],
)
def test_a_schedule_that_is_shorter_than_the_fit_is_refused_at_once(
    tmp_path: Path, total: int, interval: str, options: dict[str, Any], takes: str
) -> None:
    line = Line(total, interval)
    message = (
        rf"OneCycleLR .*`total_steps` of {total}, .* takes {takes}: set .*total_steps` to {takes},"
    )
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, line, **options)
    assert not line.rates
    fit(tmp_path, Line(int(takes), interval), **options)


def test_a_schedule_that_ends_in_a_fit_of_unknown_length_is_told(tmp_path: Path) -> None:
    line = Line(6)
    with pytest.raises(ConfigError, match=r"`total_steps` of 6, but the fit goes on: set"):
        fit(tmp_path, line, max_epochs=-1)
    assert len(line.rates) == 7


def test_a_prolonged_fit_goes_on_with_the_length_that_it_is_given(tmp_path: Path) -> None:
    fit(tmp_path, Line(8), max_epochs=2).save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match="`total_steps` of 8, but the fit takes 16"):
        fit(tmp_path, Line(8), tmp_path / "last.ckpt", max_epochs=4)
    whole, prolonged = Line(16), Line(16)
    fit(tmp_path, whole, max_epochs=4)
    fit(tmp_path, prolonged, tmp_path / "last.ckpt", max_epochs=4)
    assert len(prolonged.rates) == 8
    # The rate of the first batch had been set before the fit ended.
    assert prolonged.rates[1:] == pytest.approx(whole.rates[9:])
