"""Configurations of experiments of many runs: read, laid over one another, and fitted."""

import json
import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from qdgs_lightning.commands.table_jobs import TableError, write_json

Config = dict[str, Any]


def read_configs(layers: Sequence[Path]) -> Config:
    """Read a configuration and lay others over it.

    Args:
        layers: YAML files, the lowest one first; lists are replaced as a whole.

    Raises:
        TableError: One is missing.
    """
    config: Config = {}
    for layer in layers:
        if not layer.is_file():
            raise TableError(f"There is no {layer}: name the folder with --configs.")
        config = _laid_over(config, yaml.safe_load(layer.read_text()))
    return config


def find_refresh(config: Config) -> Config | None:
    """Find the QDRefresh callback of a configuration, if it has one."""
    for callback in config["trainer"].get("callbacks", []):
        if callback["class_path"].endswith("QDRefresh"):
            found: Config = callback
            return found
    return None


def refresh_of(config: Config, *, arm: str) -> Config:
    """Find the QDRefresh callback of a configuration.

    Raises:
        TableError: There is none.
    """
    found = find_refresh(config)
    if found is None:
        raise TableError(f"{arm}.yaml has no QDRefresh callback: add one, it says how to search.")
    return found


def keep_settings(folder: Path, settings: dict[str, Config], *, called: str) -> None:
    """Note the configurations of an experiment, and make sure that earlier results are of these.

    Args:
        folder: Of the results.
        settings: The configuration of each arm.
        called: How to call those of an arm where they differ, such as ``another {arm}.yaml``.

    Raises:
        TableError: The folder holds results of others.
    """
    path = folder / "settings.json"
    earlier: dict[str, Config] = json.loads(path.read_text()) if path.is_file() else {}
    for arm, config in settings.items():
        # Infinite bounds and the like compare equal only after the same way through JSON.
        if arm in earlier and earlier[arm] != json.loads(json.dumps(config)):
            raise TableError(
                f"{folder} holds runs of {called.format(arm=arm)}: choose another --output, or "
                "remove that folder."
            )
    write_json(path, earlier | settings)


def fit(config: Config, folder: Path, *, words: Sequence[str] = ()) -> Any:  # noqa: ANN401 (LightningCLI's attributes are untyped)
    """Run ``qdgs fit`` on a configuration, without what hundreds of runs need not have.

    Args:
        config: Is altered: metrics go to a CSV file alone, and no checkpoints are kept.
        folder: Of the run; what is there is removed.
        words: More of the command line.

    Returns:
        The command, with its trainer, model and datamodule.
    """
    from qdgs_lightning.cli import ROOMS
    from qdgs_lightning.trainer_cli import TrainerCLI

    for room in ROOMS:
        import_module(f"qdgs_lightning.{room}")
    shutil.rmtree(folder, ignore_errors=True)
    config["trainer"] |= {
        "logger": {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(folder.parent), "name": folder.name, "version": ""},
        },
        "callbacks": [
            callback
            for callback in config["trainer"].get("callbacks", [])
            if callback["class_path"].endswith(("QDRefresh", "RestartOptimizer"))
        ],
        "limit_val_batches": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return TrainerCLI(["fit", "--config", str(written(folder, config)), *words])


def written(folder: Path, config: Config) -> Path:
    """Write a configuration into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "input.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _laid_over(below: Config, above: Config) -> Config:
    """Merge two trees; where both have a value, the upper one counts."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged
