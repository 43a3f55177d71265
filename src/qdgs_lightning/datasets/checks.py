"""What datamodules refuse: settings out of range, and trainers that never ask for new data."""

from lightning.pytorch import Trainer

from qdgs_lightning.errors import QDGSError


class DataModuleError(QDGSError):
    """The data cannot be made with these settings, or with this trainer."""


def check_reload(trainer: Trainer | None) -> None:
    """Make sure that the trainer asks for a new loader every epoch.

    Args:
        trainer: The trainer of a datamodule; without one there is nothing to check.

    Raises:
        DataModuleError: It would go on with the first one.
    """
    if trainer is not None and trainer.reload_dataloaders_every_n_epochs != 1:  # type: ignore[attr-defined]
        raise DataModuleError(
            "The training data changes between epochs, but the trainer keeps its loaders: set "
            "`trainer.reload_dataloaders_every_n_epochs: 1`."
        )


def check_positive(**numbers: int) -> None:
    """Refuse counts below one.

    Args:
        numbers: Under the names of the settings.

    Raises:
        DataModuleError: One of them is.
    """
    for name, value in numbers.items():
        if value < 1:
            raise DataModuleError(f"{name} is {value}; give a whole number of at least 1.")


def check_share(**shares: float) -> None:
    """Refuse what is no share.

    Args:
        shares: Under the names of the settings.

    Raises:
        DataModuleError: One of them lies outside [0, 1].
    """
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise DataModuleError(f"{name} is {value}; give a share from 0 to 1.")
