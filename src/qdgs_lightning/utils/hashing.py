"""Models told apart by what they compute, wherever their files lie."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import nn


def fingerprint(module: nn.Module, settings: Mapping[str, object]) -> str:
    """Hash a module's weights, and what else decides what it computes.

    Args:
        module: Loaded; all of its ``state_dict`` counts, on whatever device.
        settings: In plain JSON types.

    Returns:
        The first 16 hex digits of a SHA-256.
    """
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
