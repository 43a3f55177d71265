"""Where a command writes: a fit into a numbered folder, a test of it into the fit's folder."""

import json
import os
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from qdgs_lightning.parsing.saved_configs import noted_folders
from qdgs_lightning.reporting.wandb_runs import is_wandb, save_dir_of_wandb
from qdgs_lightning.utils.atomic_files import write_json

RECORD = "run.json"
"""File in a run folder that says which command made it, of which experiment, and its W&B run."""


_PLACE = ("save_dir", "name", "version")  # what the folder of a logger is made of


def run_of(checkpoint: str | Path | None) -> Path | None:
    """Find the run folder that a checkpoint lies in.

    Args:
        checkpoint: The ``ckpt_path`` of a command.

    Returns:
        ``RUN`` of ``RUN/checkpoints/NAME.ckpt``, if there is a ``RUN/config.yaml``; else None.
    """
    if checkpoint is None or "://" in str(checkpoint):
        return None
    folder = Path(checkpoint).parent
    run = folder.parent
    return run if folder.name == "checkpoints" and (run / "config.yaml").is_file() else None


def free_folder(parent: Path, name: str) -> Path:
    """Return ``parent/name``, or the first of ``name_1``, ``name_2`` ... that is not there."""
    number, free = 0, parent / name
    while os.path.lexists(free):
        number += 1
        free = parent / f"{name}_{number}"
    return free


def placed(loggers: Any, run: Path | None, command: str) -> Any:  # noqa: ANN401 (whatever YAML holds)
    """Let loggers write for a command that looks at a fit: into the fit's folder, or unnumbered.

    Those that number folders by ``version`` write into ``RUN/test``, then ``RUN/test_1`` and so on,
    if the checkpoint is of a run, or into ``save_dir/name/test`` if there is none and no version is
    given: numbers are those of fits. Others, where the command is not in the folder of the fit,
    write into the fit's ``save_dir`` if that has W&B runs, as those of one experiment are sent
    together, or else into ``RUN``.

    Args:
        loggers: The parsed value of ``trainer.logger``.
        run: What `run_of` finds.
        command: ``test``, ``validate`` or ``predict``.

    Returns:
        The value to build instead; the one given is unchanged.
    """
    several = isinstance(loggers, list)
    listed = [
        each.clone() if isinstance(each, Namespace) else each
        for each in (loggers if several else [loggers])
    ]
    for each in listed:
        values = each.get("init_args") if isinstance(each, Namespace) else None
        if values is None:
            continue
        if is_wandb(each) or any(key not in values for key in _PLACE):
            if run is not None and "save_dir" in values:
                values["save_dir"] = _save_dir_of_fit(each, run)
        elif run is not None:
            values["save_dir"], values["name"] = str(run.parent), run.name
            values["version"] = free_folder(run, command).name
        elif values["version"] is None:
            parent = Path(str(values["save_dir"]), str(values["name"] or ""))
            values["version"] = free_folder(parent, command).name
    return listed if several else listed[0]


def _save_dir_of_fit(logger: Namespace, run: Path) -> str | None:
    """Find where a logger without numbered folders writes what it logs of a fit."""
    given: str | None = logger.init_args["save_dir"]
    folders = noted_folders(run / "config.yaml")
    here = (save_dir_of_wandb(logger) if is_wandb(logger) else None) or Path(given or ".")
    if here.is_absolute() or Path.cwd() in folders:
        return given
    there = (folder / here for folder in folders if is_wandb(logger))
    return str(next((each for each in there if (each / "wandb").is_dir()), run.absolute()))


def read_record(run: Path | None) -> dict[str, Any]:
    """Read what `write_record` wrote; nothing where there is no such file."""
    path = None if run is None else run / RECORD
    if path is None or not path.is_file():
        return {}
    content = json.loads(path.read_text())
    return content if isinstance(content, dict) else {}


def write_record(folder: Path, **facts: str | None) -> None:
    """Say in a run folder which command made it.

    Args:
        folder: The run folder.
        facts: ``command``; ``checkpoint``, the one that it began with; ``experiment``, the first
            run of those that go on from one another; ``wandb_id``.
    """
    write_json(folder / RECORD, facts)
