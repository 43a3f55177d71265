"""Checkpoints of rosinality/stylegan2-pytorch: the same network under other names."""

import re
from typing import Any

from torch import Tensor

from qdgs_lightning.generators.stylegan2.layers import resample_filter
from qdgs_lightning.generators.stylegan2.torch_files import TorchFile
from qdgs_lightning.pickles import PickleError

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


def read_rosinality(file: TorchFile) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the averaged generator of a checkpoint.

    Args:
        file: The checkpoint, with ``g_ema`` and, where it was converted, ``latent_avg``.

    Returns:
        The arguments of `StyleGAN2`, and weights under official names, ``mapping.w_avg`` among
        them only where the file has it.

    Raises:
        PickleError: It is another kind of file, or damaged.
    """
    if not isinstance(file.tree, dict) or "g_ema" not in file.tree:
        raise PickleError("it is a file of torch.save without g_ema, so not of rosinality's code")
    theirs = file.tensors(file.tree["g_ema"])
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
    if "latent_avg" in file.tree:
        weights["mapping.w_avg"] = file.tensor(file.tree["latent_avg"]).flatten()
    for size in (4 * 2**k for k in range(blocks)):
        block = f"synthesis.b{size}"
        for owner in (block, f"{block}.conv1", *([f"{block}.conv0"] if size > 4 else [])):
            weights[f"{owner}.resample_filter"] = resample_filter()
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
