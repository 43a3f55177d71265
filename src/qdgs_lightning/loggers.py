"""One way for figures and files to reach W&B, TensorBoard and the run folder alike."""

import netrc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from qdgs_lightning.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_folder(trainer: Trainer) -> Path:
    """Find the folder that belongs to this run alone.

    It is ``trainer.log_dir`` where a CSV or TensorBoard logger comes first, but needs no
    collective call, so that rank zero may ask for it by itself.

    Args:
        trainer: The trainer, its loggers set.

    Returns:
        ``<save_dir>/<name>/<version>`` of the first logger that has a folder per run; without
        any logger the trainer's ``default_root_dir``. It need not exist yet.
    """
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger | TensorBoardLogger):
            return Path(logger.log_dir)
    if trainer.loggers and trainer.loggers[0].save_dir:
        logger = trainer.loggers[0]
        return Path(str(logger.save_dir), str(logger.name), str(logger.version))
    return Path(trainer.default_root_dir)


def log_figure(trainer: Trainer, key: str, figure: "Figure", *, step: int) -> Path | None:
    """Keep a figure as a PNG in the run folder, send it to every logger, and close it.

    Args:
        trainer: The trainer whose loggers are meant.
        key: Where it stands among the metrics, such as ``qd/archive_heatmap``.
        figure: The figure; it is closed on every rank and must not be used afterwards.
        step: The optimiser step that it shows, usually ``trainer.global_step``.

    Returns:
        ``<run folder>/figures/<key>_step<step>.png``, slashes in the key made dashes; None on
        ranks other than zero and in a ``fast_dev_run``, where nothing is written.

    Raises:
        OSError: The folder cannot be written.
    """
    try:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return None
        name = f"{key.replace('/', '-')}_step{step:07d}.png"
        path = run_folder(trainer) / "figures" / name
        with replacing(path) as unfinished:
            figure.savefig(unfinished, format="png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(key, [str(path)], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(key, figure, global_step=step, close=False)
        return path
    finally:
        figure.clear()


def log_file(trainer: Trainer, path: Path, *, kind: str) -> None:
    """Hand a file of this run, such as its archive, to W&B as an artifact.

    Each call makes a new version of the artifact ``<kind>-<run id>``. Other loggers keep their
    files in the run folder anyway, and ranks other than zero do nothing. Where W&B cannot be
    reached any more, a warning says so and the run goes on: W&B keeps metrics and images for later,
    but asks its server before it takes a file, and gives up after some twenty seconds.

    Args:
        trainer: The trainer whose loggers are meant.
        path: The file.
        kind: What it is, in one word: ``archive``, ``config``.
    """
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            try:
                run.log_artifact(str(path), name=f"{kind}-{run.id}", type=kind)
            except Exception as error:  # W&B has many types of its own
                if not type(error).__module__.startswith("wandb."):
                    raise
                rank_zero_warn(
                    f"W&B has not taken {path} ({' '.join(str(error).split())}), which stays where "
                    "it is: hand it over later by `wandb artifact put`."
                )


def keep_wandb_offline_without_key() -> None:
    """Let W&B work offline where it has no key, instead of asking for one.

    Keys are looked for where W&B does: ``WANDB_API_KEY``, ``WANDB_IDENTITY_TOKEN_FILE`` and the
    netrc file. ``WANDB_MODE``, if set, decides alone. ``wandb sync`` uploads such a run later.
    """
    known = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
    if not any(os.environ.get(name) for name in known) and not _key_in_netrc():
        os.environ["WANDB_MODE"] = "offline"


def finish_wandb() -> None:
    """End the W&B run of this process, if any, lest the next logger write into it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()


def _key_in_netrc() -> bool:
    """Whether a netrc file names the W&B server; one that cannot be read does not."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    given = os.environ.get("NETRC")
    paths = [Path(given)] if given else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for path in paths:
        try:
            login = netrc.netrc(path).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if login and login[2]:
            return True
    return False
