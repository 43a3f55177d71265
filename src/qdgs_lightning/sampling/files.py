"""Keeping evaluated candidates in a file, so that fits that share them evaluate once."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from qdgs_lightning.sampling.pool import Candidates
from qdgs_lightning.utils.atomic_files import replacing

_TENSORS = ("latents", "labels", "bins", "cells")


def write_candidates(path: Path, candidates: Candidates, *, origin: dict[str, object]) -> None:
    """Write candidates to a safetensors file, whole or not at all.

    Args:
        path: The file; its folder is made if need be.
        candidates: What to keep.
        origin: All that decides what they are, in JSON types.

    Raises:
        OSError: The file cannot be written.
    """
    header = {
        "origin": origin,
        "evaluated": candidates.evaluated,
        "dropped": candidates.dropped,
        "bin_names": candidates.bin_names,
        "prompts": candidates.prompts,
    }
    tensors = {name: getattr(candidates, name).contiguous() for name in _TENSORS}
    # Processes that share the file may write at once.
    with replacing(path, writer=str(os.getpid())) as unfinished:
        save_file(tensors, unfinished, {"candidates": json.dumps(header)})


def read_candidates(path: Path, *, origin: dict[str, object]) -> Candidates | None:
    """Read candidates, if the file has those of this origin.

    Args:
        path: The file.
        origin: As it was given to `write_candidates`.

    Returns:
        None where there is no file, or where it holds anything else; write it anew then.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["candidates"])
            if header["origin"] != json.loads(json.dumps(origin)):
                return None
            header["prompts"]  # which earlier versions did not write
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
    except (FileNotFoundError, SafetensorError, KeyError, json.JSONDecodeError):
        return None
    return Candidates(
        **tensors,
        evaluated=header["evaluated"],
        dropped=header["dropped"],
        bin_names=tuple(header["bin_names"]),
        prompts=tuple(header["prompts"]),
    )
