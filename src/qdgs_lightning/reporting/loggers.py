"""One way for figures and files to reach W&B, TensorBoard and the run folder alike."""

import csv
import netrc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from qdgs_lightning.utils.atomic_files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_placed: WeakKeyDictionary[Trainer, Path] = WeakKeyDictionary()


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
    if (placed := _placed.get(trainer)) is not None:
        return placed
    return folder_of(trainer.loggers, Path(trainer.default_root_dir))


def place_run(trainer: Trainer, folder: Path) -> None:
    """Say where the folder of a run is that has no logger with a folder for each run.

    Args:
        trainer: The trainer.
        folder: What `run_folder` is to return.
    """
    if not any(isinstance(each, CSVLogger | TensorBoardLogger) for each in trainer.loggers):
        _placed[trainer] = folder


def folder_of(loggers: Sequence[Logger], root: Path) -> Path:
    """Find the folder of a run by its loggers, as `run_folder` does, before there is a trainer.

    Args:
        loggers: In the order of the configuration.
        root: The trainer's ``default_root_dir``.
    """
    for logger in loggers:
        if isinstance(logger, CSVLogger | TensorBoardLogger):
            return Path(logger.log_dir)
    if loggers and loggers[0].save_dir:
        logger = loggers[0]
        return Path(str(logger.save_dir), str(logger.name), str(logger.version))
    return root


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
            with _warning_without_wandb(path):
                run.log_artifact(str(path), name=f"{kind}-{run.id}", type=kind)


def log_csv(trainer: Trainer, key: str, path: Path, *, step: int) -> None:
    """Show a CSV file of this run as a table in W&B.

    Other loggers have the file in the run folder, and ranks other than zero do nothing. Where W&B
    cannot be reached any more, a warning says so, as `log_file` does.

    Args:
        trainer: The trainer whose loggers are meant.
        key: Where it stands among the metrics, such as ``pool/identities_per_bin``.
        path: The file, its first row the columns' names. Columns of numbers alone are numbers.
        step: The optimiser step that it shows, usually ``trainer.global_step``.

    Raises:
        OSError: The file cannot be read.
    """
    if not trainer.is_global_zero:
        return
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    columns = [_numbers(column) for column in zip(*rows, strict=True)]
    data = [list(row) for row in zip(*columns, strict=True)]
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            with _warning_without_wandb(path):
                logger.log_table(key, columns=names, data=data, step=step)


def keep_wandb_offline_without_key() -> None:
    """Let W&B work offline where it has no key, instead of asking for one.

    Keys are looked for where W&B does: ``WANDB_API_KEY``, ``WANDB_IDENTITY_TOKEN_FILE`` and the
    netrc file. ``WANDB_MODE``, if set, decides alone. ``wandb sync`` uploads such a run later.
    """
    known = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
    if not any(os.environ.get(name) for name in known) and not _key_in_netrc():
        os.environ["WANDB_MODE"] = "offline"


def limit_wandb_finish(seconds: float = 300.0) -> None:
    """Let W&B give up on its server when a run ends, instead of trying for minutes or for ever.

    ``WANDB_FINISH_TIMEOUT``, in seconds, decides alone if it is set; 0 waits for ever. To be called
    before W&B is first used.

    Args:
        seconds: How long a run may take to end.
    """
    os.environ.setdefault("WANDB_FINISH_TIMEOUT", str(seconds))
    os.environ.setdefault("WANDB_FINISH_TIMEOUT_RAISES", "true")  # lest `finish_wandb` miss it


def finish_wandb(*, exit_code: int | None = None) -> None:
    """End the W&B run of this process, if any, lest the next logger write into it.

    A run that is offline is named, with how to send it, unless W&B itself says so.

    Where its server has not taken everything in time, see `limit_wandb_finish`, a warning says
    where the rest is and how to send it.

    Args:
        exit_code: Other than 0 for a run that has failed; None leaves it to W&B.
    """
    if "wandb" not in sys.modules:
        return
    wandb = sys.modules["wandb"]
    run = wandb.run
    try:
        wandb.finish(exit_code=exit_code)
    except TimeoutError:
        rank_zero_warn(
            "W&B has not taken the whole run in time, and all of it stays on this disk: send it "
            f"later by `wandb sync {Path(run.dir).parent}`, or set WANDB_FINISH_TIMEOUT to more "
            "seconds next time."
        )
        return
    if run is not None and run.offline and run.settings.quiet and not run.settings.silent:
        rank_zero_info(f"W&B run, offline; send it by: wandb sync {run.settings.sync_dir}")


def wandb_record() -> Path | None:
    """Find the folder that ``wandb sync`` takes, while a W&B run of this process is open."""
    run = sys.modules["wandb"].run if "wandb" in sys.modules else None
    return None if run is None else Path(run.dir).parent


@contextmanager
def _warning_without_wandb(path: Path) -> Iterator[None]:
    """Warn where W&B does not take a file, and go on."""
    try:
        yield
    except Exception as error:  # W&B has many types of its own
        if not type(error).__module__.startswith("wandb."):
            raise
        rank_zero_warn(
            f"W&B has not taken {path} ({' '.join(str(error).split())}), which stays where "
            "it is: hand it over later by `wandb artifact put`."
        )


def _numbers(column: Sequence[str]) -> list[float | None] | list[str]:
    """Turn a column into numbers, nothing where it is empty, unless it holds words."""
    try:
        return [float(cell) if cell else None for cell in column]
    except ValueError:
        return list(column)


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
