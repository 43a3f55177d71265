"""Learning rates of a resumed fit, which are the configuration's and not the checkpoint's."""

import copy
import warnings
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import ReduceLROnPlateau

from qdgs_lightning.utils.atomic_files import strict_json

_KEY = "configured_rates"  # in a checkpoint
_COUNTS = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


class ConfiguredRates(Callback):
    """Lets a resumed fit follow the optimizer and scheduler of its own configuration.

    PyTorch keeps learning rate, weight decay, milestones, lengths and so on in the states of
    optimizers and schedulers, and a fit that loads them would go on with those of the checkpoint,
    whatever the configuration says. This callback notes in every checkpoint how both were
    configured. Where a resumed fit is configured otherwise, its optimizer gets the settings of the
    configuration, and its scheduler is stepped from the beginning to the epoch or step of the
    checkpoint: a ``PolynomialLR`` over 8 epochs that is resumed after 2 has 3/4 of the rate, even
    if it was one over 2 epochs before. Moments of the optimizer are kept. ``ReduceLROnPlateau``,
    whose past depends on metrics, keeps its counts and begins with the configured rate. Where
    nothing has changed, everything goes on to the last bit as it was; so do checkpoints without
    such a note.

    ``qdgs fit`` adds it by itself.
    """

    def __init__(self) -> None:
        self._configured: Any = None
        self._groups: list[list[dict[str, Any]]] = []
        self._states: list[dict[str, Any]] = []
        self._checkpoint: dict[str, Any] = {}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep hold of it until its states are loaded."""
        self._checkpoint = checkpoint

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note how this run is configured, before states are loaded.

        A scheduler cannot load the state of one of another class, and gets its own instead.
        """
        self._groups = [
            [{k: copy.deepcopy(v) for k, v in each.items() if k != "params"} for each in groups]
            for groups in (optimizer.param_groups for optimizer in trainer.optimizers)
        ]
        self._states = [
            copy.deepcopy(each.scheduler.state_dict()) for each in trainer.lr_scheduler_configs
        ]
        kinds = [
            {"class": type(each.scheduler).__name__, "interval": each.interval, "state": state}
            for each, state in zip(trainer.lr_scheduler_configs, self._states, strict=True)
        ]
        self._configured = strict_json(
            {"optimizers": self._groups, "schedulers": kinds}, words=True
        )
        if (loaded := self._checkpoint.get(_KEY)) is not None:
            states = enumerate(zip(self._checkpoint["lr_schedulers"], self._states, strict=False))
            self._checkpoint["lr_schedulers"] = [
                old if _is_alike(trainer.lr_scheduler_configs[i], i, loaded) else copy.deepcopy(new)
                for i, (old, new) in states
            ]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the note."""
        checkpoint[_KEY] = self._configured

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the configuration, if the checkpoint's was another."""
        loaded, self._checkpoint = self._checkpoint.get(_KEY), {}
        if loaded is None or loaded == self._configured:
            return
        places = [
            _place(trainer, config, alike=_is_alike(config, index, loaded))
            for index, config in enumerate(trainer.lr_scheduler_configs)
        ]
        for optimizer, groups in zip(trainer.optimizers, self._groups, strict=True):
            for group, configured in zip(optimizer.param_groups, groups, strict=True):
                group.update(copy.deepcopy(configured))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of steps without steps of the optimizer
            for config, state, place in zip(
                trainer.lr_scheduler_configs, self._states, places, strict=True
            ):
                _bring_to(config.scheduler, copy.deepcopy(state), place)
        rates = {float(g["lr"]) for o in trainer.optimizers for g in o.param_groups}
        rank_zero_info(
            "The optimizer or its scheduler is configured otherwise than in the checkpoint: the "
            "fit goes on with the configuration's, from learning rate "
            f"{', '.join(f'{rate:g}' for rate in sorted(rates))}."
        )


def _is_alike(config: LRSchedulerConfig, index: int, loaded: dict[str, Any]) -> bool:
    """Whether the checkpoint's scheduler of this index is of the same class and interval."""
    kinds = [(each["class"], each["interval"]) for each in loaded["schedulers"]]
    return kinds[index : index + 1] == [(type(config.scheduler).__name__, config.interval)]


def _place(trainer: Trainer, config: LRSchedulerConfig, *, alike: bool) -> int:
    """Count how often a scheduler would have been stepped: by itself, or else by the trainer."""
    if alike:
        return int(config.scheduler.last_epoch)
    steps = trainer.current_epoch if config.interval == "epoch" else trainer.global_step
    return steps // config.frequency


def _bring_to(scheduler: Any, state: dict[str, Any], place: int) -> None:  # noqa: ANN401
    """Let a scheduler begin anew as it was configured, and step it to its place."""
    if isinstance(scheduler, ReduceLROnPlateau):
        counts = {key: getattr(scheduler, key) for key in _COUNTS}
        scheduler.load_state_dict(state | counts)
        return
    scheduler.load_state_dict(state)
    for _ in range(min(place, getattr(scheduler, "total_steps", place))):
        scheduler.step()
