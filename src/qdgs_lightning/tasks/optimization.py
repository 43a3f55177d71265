"""Optimizers and schedules as injected by a configuration."""

import math
from collections.abc import Iterable
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import (
    LRSchedulerConfigType,
    LRSchedulerTypeUnion,
    OptimizerLRScheduler,
)
from torch import nn
from torch.nn import Parameter
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR

from qdgs_lightning.errors import ConfigError

Undecayed = Literal["none", "batch_norm", "vectors"]


class ScheduledModule(LightningModule):
    """A task whose scheduler may have a length of its own, as OneCycleLR has.

    The length is that of the configuration, in a fit that is resumed, too, so that it can be
    prolonged; the scheduler's place is that of the checkpoint.
    """

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the lengths of schedulers, which PyTorch keeps with their places."""
        for state in checkpoint.get("lr_schedulers", []):
            for key in ("total_steps", "_schedule_phases"):
                state.pop(key, None)

    def on_train_start(self) -> None:
        """Refuse a scheduler that is shorter than the fit, as far as that can be counted.

        Raises:
            ConfigError: See above.
        """
        trainer = self.trainer
        for each in trainer.lr_scheduler_configs:
            total = getattr(each.scheduler, "total_steps", math.inf)
            if each.interval == "epoch":
                planned = float(trainer.max_epochs or 0) if trainer.max_steps == -1 else 0.0
            else:
                try:
                    planned = trainer.estimated_stepping_batches
                except MisconfigurationException:  # batches are gathered by changing numbers
                    continue
            if total < planned < math.inf:
                raise ConfigError(
                    _too_short(each.scheduler, f"takes {planned:.0f}", f"{planned:.0f}")
                )

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any | None) -> None:  # noqa: ANN401
        """Go on with a schedule.

        Raises:
            ConfigError: It has ended, in a fit whose steps could not be counted.
        """
        if getattr(scheduler, "total_steps", math.inf) <= getattr(scheduler, "last_epoch", 0):
            raise ConfigError(_too_short(scheduler, "goes on", "the steps that it takes"))
        super().lr_scheduler_step(scheduler, metric)


def _too_short(scheduler: object, fit: str, wanted: str) -> str:
    """Say what is wrong with the length of a scheduler."""
    return (
        f"{type(scheduler).__name__} ends after `total_steps` of "
        f"{getattr(scheduler, 'total_steps', 0)}, but the fit {fit}: set "
        f"`model.init_args.scheduler.init_args.total_steps` to {wanted}, or let the fit end before."
    )


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


def decay_groups(module: nn.Module, undecayed: Undecayed) -> list[dict[str, object]]:
    """Divide the trained parameters of a module by whether weights of them decay.

    Args:
        module: Whose parameters.
        undecayed: Which do not: ``none`` of them (arcface_torch), those of ``batch_norm`` layers
            (AdaFace), or all ``vectors``, which are biases, slopes and normalisation (CVLface).

    Returns:
        Groups for an optimizer, the decaying one first; the other with ``weight_decay`` 0.
    """
    normalising = {
        id(parameter)
        for layer in module.modules()
        if isinstance(layer, _BatchNorm)
        for parameter in layer.parameters(recurse=False)
    }
    groups: tuple[list[Parameter], list[Parameter]] = ([], [])
    for parameter in module.parameters():
        if parameter.requires_grad:
            spared = (undecayed == "batch_norm" and id(parameter) in normalising) or (
                undecayed == "vectors" and parameter.ndim <= 1
            )
            groups[spared].append(parameter)
    decaying, spared_ones = groups
    return [
        {"params": decaying},
        *([{"params": spared_ones, "weight_decay": 0.0}] if spared_ones else []),
    ]


def warmed_up(
    optimizer: Optimizer,
    scheduler: LRSchedulerCallable | None,
    *,
    interval: Literal["epoch", "step"],
    warmup_steps: int,
) -> tuple[list[Optimizer], list[LRSchedulerConfigType]]:
    """Raise the learning rate from almost nothing at first, step by step, and then schedule it.

    Both act on the same rate as factors: milestones count from the beginning of the training and
    not from the end of the warm-up.

    Args:
        optimizer: Whose rate.
        scheduler: Makes a scheduler of the optimizer, if the rate is to change later.
        interval: How often that one is stepped.
        warmup_steps: How many steps the rise takes; the first has its ``1 / warmup_steps``.

    Raises:
        ConfigError: The scheduler sets the first rate itself, and would undo the warm-up.
    """
    schedulers: list[LRSchedulerConfigType] = []
    if warmup_steps > 0:
        rise = LinearLR(optimizer, start_factor=1 / warmup_steps, total_iters=warmup_steps - 1)
        schedulers.append({"scheduler": rise, "interval": "step", "name": "warm-up"})
    if scheduler is not None:
        risen = [float(group["lr"]) for group in optimizer.param_groups]
        later = scheduler(optimizer)
        first = [float(group["lr"]) for group in optimizer.param_groups]
        for rate, asked in zip(first, risen, strict=True):
            if warmup_steps > 0 and not math.isclose(rate, asked):
                raise ConfigError(
                    f"{type(later).__name__} does not go together with `warmup`, since it begins "
                    f"with a rate of {rate:g} and not {asked:g}: set `warmup` to 0 and let the "
                    "scheduler begin low, or choose another such as MultiStepLR or PolynomialLR."
                )
        schedulers.append({"scheduler": later, "interval": interval})
    return [optimizer], schedulers
