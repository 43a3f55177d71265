"""Configurations of experiments of many runs: read, laid over one another, and fitted."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_warn

from qdgs_lightning.doctor.run import refuse_unready
from qdgs_lightning.export.card import file_hash
from qdgs_lightning.parsing.class_switches import dropped
from qdgs_lightning.parsing.config_files import read_yaml
from qdgs_lightning.parsing.rooms import import_rooms
from qdgs_lightning.parsing.shipped_configs import find_config
from qdgs_lightning.studies.runner import TableError
from qdgs_lightning.trainer.trainer_cli import TrainerCLI
from qdgs_lightning.utils.atomic_files import write_json
from qdgs_lightning.weights import resolve_weights

Config = dict[str, Any]

# Callbacks that watch a run and change nothing in it. A Trainer that was told to have no
# checkpoints and no progress bar refuses theirs.
_WATCHERS = (
    "IdentityFigures",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "OnExceptionCheckpoint",
    "RichProgressBar",
    "TQDMProgressBar",
    "TrainingImages",
)


def read_configs(layers: Sequence[Path]) -> Config:
    """Read a configuration and lay others over it.

    Args:
        layers: YAML files or names of shipped ones, the lowest one first; lists are replaced as a
            whole.

    Returns:
        What ``qdgs fit`` takes, with ``model.init_args``, ``data.init_args`` and ``trainer``;
        callbacks, if any are named, are a list of mappings with a ``class_path``.

    Raises:
        ConfigError: One is missing or no YAML.
        TableError: One is no mapping, or together they lack one of these.
    """
    config: Config = {}
    for layer in layers:
        config = _laid_over(config, _read(layer))
    told = " with ".join(map(str, layers))
    for key in ("model.init_args", "data.init_args", "trainer"):
        value: Any = config
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, dict):
            raise TableError(f"{told} has no mapping {key}: add one, as qdgs fit takes it.")
    trainer = config["trainer"]
    if "callbacks" in trainer:
        trainer["callbacks"] = _listed(trainer["callbacks"], told)
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


def keep_settings(
    folder: Path, configs: Mapping[str, Config], *, weights: Mapping[str, str | None]
) -> None:
    """Note what an experiment's results depend on, and make sure that earlier ones are of this.

    What was not noted before, as a new arm, or weights in a folder of an earlier version, is taken
    to be as it is now.

    Args:
        folder: Of the results.
        configs: The configuration of each arm.
        weights: Name or path, or None, by the option that it comes from, without dashes. Weights
            are the same if their files are, whatever these are called.

    Raises:
        TableError: The folder holds results of others.
        WeightsError: There are no such weights.
    """
    settings: dict[str, Any] = dict(configs)
    for option, name in weights.items():
        settings[f"--{option}"] = None if name is None else file_hash(resolve_weights(name))
    path = folder / "settings.json"
    earlier: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for name, value in settings.items():
        # Infinite bounds and the like compare equal only after the same way through JSON.
        if name in earlier and earlier[name] != json.loads(json.dumps(value)):
            other = f"other settings of the arm {name}" if name in configs else f"another {name}"
            raise TableError(
                f"{folder} holds runs of {other}: choose another --output, or remove that folder."
            )
    write_json(path, earlier | settings)


def fit(config: Config, folder: Path, *, words: Sequence[str] = ()) -> Any:  # noqa: ANN401 (LightningCLI's attributes are untyped)
    """Run ``qdgs fit`` on a configuration, without what hundreds of runs need not have.

    Args:
        config: Is altered: metrics go to a CSV file alone, nothing is validated, no checkpoints
            are kept, and callbacks that only watch are left out.
        folder: Of the run; what is there is removed.
        words: More of the command line.

    Returns:
        The command, with its trainer, model and datamodule.
    """
    import_rooms()
    shutil.rmtree(folder, ignore_errors=True)
    config["trainer"] |= {
        "logger": {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(folder.parent), "name": folder.name, "version": ""},
        },
        "callbacks": [
            callback
            for callback in config["trainer"].get("callbacks", [])
            if callback["class_path"].rpartition(".")[2] not in _WATCHERS
        ],
        "limit_val_batches": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    words = ["fit", "--config", str(written(folder, config)), *words]
    return TrainerCLI(words, preflight=refuse_unready)


def written(folder: Path, config: Config) -> Path:
    """Write a configuration into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "input.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _read(layer: Path) -> Config:
    """Read one file."""
    config = read_yaml(find_config(layer))
    if not isinstance(config, dict):
        raise TableError(
            f"{layer} is no YAML mapping: write settings such as 'trainer: {{max_epochs: 3}}'."
        )
    return config


def _listed(callbacks: Any, told: str) -> list[Config]:  # noqa: ANN401 (whatever YAML holds)
    """Write callbacks at length; in YAML they may be none, one or a list, and a mere name."""
    each = callbacks if isinstance(callbacks, list) else [callbacks] if callbacks else []
    listed = [{"class_path": one} if isinstance(one, str) else one for one in each]
    if not all(isinstance(one, dict) and "class_path" in one for one in listed):
        raise TableError(f"{told} has a callback without a class_path: name its class.")
    return listed


def _stem(class_path: str) -> str:
    """The name of a class, which may stand in YAML without its package."""
    return class_path.rpartition(".")[2]


def _laid_over(below: Config, above: Config) -> Config:
    """Merge two trees; where both have a value, the upper one counts.

    Another class takes nothing of the arguments of the one before, as in `qdgs fit`.
    """
    merged = dict(below)
    former, new = below.get("class_path", ""), above.get("class_path", "")
    switched = bool(former and new) and _stem(former) != _stem(new)
    if switched and (arguments := merged.pop("init_args", None)):
        rank_zero_warn(dropped(former, new, arguments))
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged
