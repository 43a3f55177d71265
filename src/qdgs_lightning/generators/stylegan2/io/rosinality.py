"""Generators of rosinality/stylegan2-pytorch and of BasicSR: the same network by other names."""

import re
from typing import Any

from torch import Tensor

from qdgs_lightning.formats.inert_pickle.machine import PickleError

_MAX_BLOCKS = 11  # 4096 pixels

# Their names within a modulated layer, and ours; a leading dimension of 1 is dropped.
_LAYER = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "activate.bias": "bias",
    "noise.weight": "noise_strength",
    "bias": "bias",
}


# Names of BasicSR, and what rosinality calls the same.
_BASICSR = (
    (r"style_mlp\.", "style."),
    (r"constant_input\.weight$", "input.input"),
    (r"style_(convs?\d*)((?:\.\d+)?)\.weight$", r"\1\2.noise.weight"),
    (r"style_(convs?\d*\.)", r"\1"),
    (r"(.+\.)modulated_conv\.", r"\1conv."),
    (r"noises\.noise(\d+)$", r"noises.noise_\1"),
)


def read_basicsr(theirs: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Translate a generator of BasicSR, as `read_rosinality` does its own."""
    renamed = {}
    for name, value in theirs.items():
        for pattern, other in _BASICSR:
            name = re.sub(f"^{pattern}", other, name)
        renamed[name] = value
    return read_rosinality(renamed)


def read_rosinality(theirs: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Translate a generator.

    Args:
        theirs: Its weights, with or without stored noise.

    Returns:
        The arguments of `StyleGAN2`, and weights under official names, without filters, the average
        style, and noise where there is none.

    Raises:
        PickleError: It is another network, or damaged.
    """
    weights = {ours: _moved(ours, theirs[name]) for name, ours in _names(theirs)}
    blocks = sum(bool(re.fullmatch(r"to_rgbs\.\d+\.bias", name)) for name in theirs) + 1
    layers = sum(bool(re.fullmatch(r"style\.\d+\.weight", name)) for name in theirs)
    try:
        channels = [weights[f"synthesis.b{4 * 2**k}.conv1.weight"].shape[0] for k in range(blocks)]
        w_dim, z_dim = weights["mapping.fc0.weight"].shape
    except (KeyError, IndexError, ValueError) as error:
        raise PickleError(f"its generator has no {error}") from error
    if not 2 <= blocks <= _MAX_BLOCKS:
        raise PickleError(f"its generator has {blocks} resolutions")
    check_inputs(z_dim, w_dim)
    config = {
        "z_dim": int(z_dim),
        "c_dim": 0,
        "w_dim": int(w_dim),
        "img_resolution": 4 * 2 ** (blocks - 1),
        "img_channels": 3,
        "mapping_kwargs": {"num_layers": layers, "lr_multiplier": 0.01},
        "synthesis_kwargs": {
            "channels": tuple(int(width) for width in channels),
            "conv_clamp": None,
            "architecture": "skip",
        },
    }
    return config, weights


def check_inputs(inputs: int, w_dim: int) -> None:
    """Refuse a mapping that takes more than noise, where a file has no embedding of classes.

    Raises:
        PickleError: It takes more numbers than a style has; noise of that length has no network.
    """
    if inputs > w_dim:
        raise PickleError(
            f"its mapping takes {inputs} numbers to styles of {w_dim}, as that of a network with "
            "classes does, and the embedding of classes, without which its images are wrong, is "
            "not in the file; bring the whole generator"
        )


def _names(theirs: dict[str, Tensor]) -> list[tuple[str, str]]:
    """Pair their names with ours; the filters are the same in all networks and are left out."""
    pairs = []
    for name in theirs:
        if name.endswith("kernel"):
            continue
        ours = _ours(name)
        if ours is None:
            raise PickleError(f"its generator has {name}, which StyleGAN2 has not")
        pairs.append((name, ours))
    return pairs


def _ours(name: str) -> str | None:
    """Translate a name."""
    if name == "input.input":
        return "synthesis.b4.const"
    if found := re.fullmatch(r"style\.([1-9]\d?)\.(weight|bias)", name):
        return f"mapping.fc{int(found[1]) - 1}.{found[2]}"
    if found := re.fullmatch(r"noises\.noise_(\d\d?)", name):
        return f"synthesis.{_layer(int(found[1]) - 1)}.noise_const"
    if found := re.fullmatch(r"(conv1|convs\.\d\d?|to_rgb1|to_rgbs\.\d\d?)\.(.+)", name):
        part, rest = found[1], _LAYER.get(found[2])
        kind, _, number = part.partition(".")
        match kind:
            case "conv1":
                owner = "b4.conv1"
            case "convs":
                owner = _layer(int(number))
            case "to_rgb1":
                owner = "b4.torgb"
            case _:
                owner = f"b{8 * 2 ** int(number)}.torgb"
        return f"synthesis.{owner}.{rest}" if rest else None
    return None


def _layer(index: int) -> str:
    """Name the layer of ``convs`` with an index; that before the first is the one at 4 x 4."""
    return "b4.conv1" if index < 0 else f"b{8 * 2 ** (index // 2)}.conv{index % 2}"


def _moved(name: str, tensor: Tensor) -> Tensor:
    """Give a tensor the shape that it has in official files."""
    last = name.rpartition(".")[2]
    if last == "noise_const":
        return tensor.reshape(tensor.shape[-2:])
    if last == "noise_strength":
        return tensor.reshape([]) if tensor.numel() == 1 else tensor
    if last == "const" or (last == "weight" and tensor.ndim == 5):
        return tensor[0] if len(tensor) == 1 else tensor
    if name.endswith("torgb.bias"):
        return tensor.flatten()
    return tensor
