"""What a file may say about a network, before anything is built from it."""

import math
from typing import Any

from qdgs_lightning.formats.inert_pickle.machine import PickleError

_MAX_WIDTH = 16_384
_MAX_LAYERS = 64
_MAX_RESOLUTION = 4096

_SIZES = {
    "z_dim": (0, _MAX_WIDTH),
    "c_dim": (0, _MAX_WIDTH),
    "w_dim": (1, _MAX_WIDTH),
    "img_resolution": (8, _MAX_RESOLUTION),
    "img_channels": (1, _MAX_WIDTH),
}
_MAPPING_SIZES = {
    "num_layers": (1, _MAX_LAYERS),
    "embed_features": (1, _MAX_WIDTH),
    "layer_features": (1, _MAX_WIDTH),
}


def checked_configuration(config: object) -> dict[str, Any]:
    """Return the arguments of `StyleGAN2`, if each is of its type and within bounds.

    Args:
        config: What a file says they are, in JSON types; tuples may be lists.

    Raises:
        PickleError: They are not, some are missing, or there are others.
    """
    mapping, synthesis = (_part(config, f"{part}_kwargs") for part in ("mapping", "synthesis"))
    assert isinstance(config, dict)
    known = {*_SIZES, "mapping_kwargs", "synthesis_kwargs"}
    if config.keys() != known:
        raise PickleError("it does not say how large the network is")
    if mapping.keys() - {*_MAPPING_SIZES, "lr_multiplier"}:
        raise PickleError("its mapping has options that StyleGAN2 has not")
    if synthesis.keys() != {"channels", "conv_clamp", "architecture"}:
        raise PickleError("its synthesis has other options than StyleGAN2's")
    for sizes, holder in ((_SIZES, config), (_MAPPING_SIZES, mapping)):
        for name, (low, high) in sizes.items():
            if name in holder and not (type(holder[name]) is int and low <= holder[name] <= high):
                raise PickleError(f"its {name} is no number from {low} to {high}")
    channels = synthesis["channels"]
    if not isinstance(channels, list | tuple) or not all(
        type(width) is int and 1 <= width <= _MAX_WIDTH for width in channels
    ):
        raise PickleError("its channels are no list of numbers")
    if not _positive(mapping.get("lr_multiplier", 1.0)):
        raise PickleError("its lr_multiplier is no positive number")
    if synthesis["conv_clamp"] is not None and not _positive(synthesis["conv_clamp"]):
        raise PickleError("its conv_clamp is no positive number")
    if not isinstance(synthesis["architecture"], str):
        raise PickleError("its architecture is no name")
    return {**config, "synthesis_kwargs": {**synthesis, "channels": tuple(channels)}}


def _part(config: object, name: str) -> dict[str, Any]:
    """Return the options of one part of the network."""
    part = config.get(name) if isinstance(config, dict) else None
    if not isinstance(part, dict):
        raise PickleError("it does not say how large the network is")
    return part


def _positive(value: object) -> bool:
    """Whether a value is a positive number."""
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]
