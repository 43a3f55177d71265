"""Runs of Weights & Biases that lie below one folder and can be sent from any machine."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, WandbLogger

from qdgs_lightning.utils.remarks import shows_everything

_VARIABLES = {
    "id": "WANDB_RUN_ID",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
}

if TYPE_CHECKING:
    from wandb import Artifact, Run

_ours: dict[str, str] = {}  # variables of the environment that this process has set for a run


def keep_wandb_below(save_dir: Path) -> None:
    """Let W&B put copies of artifacts below the folder of its runs, and not into the home folder.

    W&B copies a file as soon as it is logged, and would do so into ``~/.local/share/wandb``, and
    once more into ``~/.cache/wandb`` when it is sent. To be called before W&B is first used;
    ``WANDB_DATA_DIR`` and ``WANDB_CACHE_DIR``, if the user has set them, decide alone.

    Args:
        save_dir: The ``save_dir`` of the `WandbLogger`; copies go to ``<save_dir>/wandb/data``,
            and what has been sent, with W&B's own logs, to ``<save_dir>/wandb/cache``.
    """
    folder = save_dir.absolute() / "wandb"
    set_for_run({"WANDB_DATA_DIR": str(folder / "data"), "WANDB_CACHE_DIR": str(folder / "cache")})


def is_wandb(logger: Any) -> bool:  # noqa: ANN401 (whatever YAML holds)
    """Whether an entry of ``trainer.logger`` in a parsed configuration is a `WandbLogger`."""
    return str(getattr(logger, "class_path", "")).endswith("WandbLogger")


def save_dir_of_wandb(loggers: Any) -> Path | None:  # noqa: ANN401 (whatever YAML holds)
    """Find where the first `WandbLogger` of a parsed configuration keeps its runs.

    Args:
        loggers: The value of ``trainer.logger``: one, several, or a switch.

    Returns:
        Its ``save_dir``; None if there is no such logger.
    """
    values = _arguments_of_wandb(loggers)
    return None if values is None else Path(values.get("save_dir") or values.get("dir") or ".")


def quieten_wandb(loggers: Any) -> None:  # noqa: ANN401 (whatever YAML holds)
    """Let W&B print neither curves nor hints; its warnings, errors and links stay.

    An offline run prints nothing but warnings, as `finish_wandb` says how to send it. To be called
    before W&B is first used; ``WANDB_QUIET`` and ``WANDB_SHOW_INFO``, if the user has set them,
    decide alone, and ``QDGS_DEBUG=1`` leaves W&B as it is.

    Args:
        loggers: The value of ``trainer.logger``, parsed.
    """
    values = _arguments_of_wandb(loggers)
    if values is None or shows_everything():
        return
    mode = values.get("mode") or os.environ.get("WANDB_MODE")
    offline = values.get("offline") or mode == "offline"
    set_for_run({"WANDB_QUIET": "true", **({"WANDB_SHOW_INFO": "false"} if offline else {})})


def _arguments_of_wandb(loggers: Any) -> Any:  # noqa: ANN401 (whatever YAML holds)
    """Find the arguments of the first `WandbLogger`; None if there is no such logger."""
    for each in loggers if isinstance(loggers, list) else [loggers]:
        if is_wandb(each):
            return each.get("init_args") or {}
    return None


def set_for_run(values: Mapping[str, str]) -> None:
    """Set variables of the environment that the user has not set, until the next run sets them.

    Args:
        values: By name.
    """
    for name, value in values.items():
        if os.environ.get(name) in (None, "", _ours.get(name)):
            os.environ[name] = _ours[name] = value


def describe_run(loggers: Iterable[Logger], **about: str | list[str]) -> None:
    """Tell `WandbLogger` what its run is, before it opens one, and spare the user W&B's remarks.

    Args:
        loggers: Of the trainer; others are left alone.
        about: Arguments of ``wandb.init`` by name: ``id``, ``group``, ``job_type``, ``tags``. One
            that the logger was given, or that the user's environment has, stays as it is.
    """
    for logger in loggers:
        if not isinstance(logger, WandbLogger):
            continue
        given = logger._wandb_init  # which has no public way in; W&B reads its environment once
        for name, value in about.items():
            if not given.get(name) and not os.environ.get(_VARIABLES[name]):
                given[name] = value
        logger._id = given.get("id")
        if given.get("anonymous", ...) is None:  # Lightning's default, of which W&B warns
            del given["anonymous"]
        if logger.save_dir:  # which W&B looks into for git, and warns where it is not there
            Path(logger.save_dir).mkdir(parents=True, exist_ok=True)


def forget_run() -> None:
    """Take the variables that `set_for_run` has set out of the environment."""
    for name, value in _ours.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    _ours.clear()


def make_portable(run: "Run") -> None:
    """Let an offline run name the files of its artifacts by relative paths.

    W&B writes absolute ones, and ``wandb sync`` leaves out, without a word, artifacts whose files
    are not there: a run that was copied to a machine with network would arrive without its
    checkpoints. Relative paths count from the folder that ``wandb sync`` is run in, which must hold
    the copy as the folder of the command held the original. Files outside of that folder, and runs
    that are online, keep absolute paths.

    Args:
        run: A run that has just begun; calling twice does nothing more.
    """
    prepare = getattr(run, "_prepare_artifact", None)  # whatever logs an artifact comes by it
    if prepare is None or not run.offline or "_prepare_artifact" in vars(run):
        return

    def prepare_relative(*args: Any, **kwargs: Any) -> tuple["Artifact", list[str]]:
        """Make the artifact as W&B does, and name its files anew."""
        artifact, aliases = prepare(*args, **kwargs)
        _relate(artifact)
        return artifact, aliases

    vars(run)["_prepare_artifact"] = prepare_relative


def _relate(artifact: "Artifact") -> None:
    """Name the files of an artifact relative to the current folder where they lie below it."""
    here = Path.cwd()
    for entry in artifact.manifest.entries.values():
        if entry.local_path and (path := Path(entry.local_path).absolute()).is_relative_to(here):
            entry.local_path = str(path.relative_to(here))
