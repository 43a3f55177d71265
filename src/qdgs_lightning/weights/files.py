"""Reading and writing weights: safetensors, half precision on disk, never half a file."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.weights import WeightsError, resolve_weights


def save_weights(module: nn.Module, path: Path, config: dict[str, Any] | None = None) -> None:
    """Write a module's state as float16, with the arguments that rebuild it.

    Args:
        module: What to save.
        path: Where to; the folder is made, and the file appears only once it is complete.
        config: JSON-serialisable constructor arguments.
    """
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in module.state_dict().items()
    }
    with replacing(path) as unfinished:
        save_file(state, unfinished, {"config": json.dumps(config or {})})


def read_config(name_or_path: str | Path, keys: Collection[str]) -> dict[str, Any]:
    """Read the constructor arguments that `save_weights` stored.

    Args:
        name_or_path: As in `resolve_weights`.
        keys: Names of the arguments, all of them and no others.

    Raises:
        WeightsError: The file is missing, not one of ours, or of another class.
    """
    path = resolve_weights(name_or_path)
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {})["config"])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path} was not written by this package or is damaged ({error}): remake it with "
            "`make weights`, or bring another."
        ) from error
    if not isinstance(config, dict) or config.keys() != set(keys):
        raise WeightsError(
            f"{path} holds weights of another kind: those wanted here are described by "
            f"{', '.join(sorted(keys))}."
        )
    return config


def load_weights(module: nn.Module, name_or_path: str | Path) -> None:
    """Fill a module from a file of `save_weights`, in the module's own precision.

    Args:
        module: What to fill; every tensor must be in the file, and no other.
        name_or_path: As in `resolve_weights`.

    Raises:
        WeightsError: The file is missing, damaged, or of another architecture.
    """
    path = resolve_weights(name_or_path)
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, torch.Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        module.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(
            f"{path} does not fit {type(module).__name__} ({reason}): give weights that were made "
            "for it."
        ) from error
