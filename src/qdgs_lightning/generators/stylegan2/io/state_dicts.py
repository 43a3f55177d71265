"""Weights of a generator alone: which of the known networks they are of, and how large it is."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qdgs_lightning.formats.inert_pickle.machine import PickleError
from qdgs_lightning.generators.stylegan2.io.rosinality import (
    check_inputs,
    read_basicsr,
    read_rosinality,
)
from qdgs_lightning.generators.stylegan2.layers import resample_filter

Read = tuple[dict[str, Any], dict[str, Tensor]]

_MAX_RESOLUTION = 4096


class Naming(NamedTuple):
    """One way to name the weights of a generator.

    Attributes:
        kind: Whose it is.
        anchor: A name that no other way has.
        read: Returns the arguments of `StyleGAN2` and weights under official names.
    """

    kind: str
    anchor: str
    read: Callable[[dict[str, Tensor]], Read]


class Generator(NamedTuple):
    """A generator of which nothing is known but its weights.

    Attributes:
        kind: Whose names they had.
        config: The arguments of `StyleGAN2`, as far as shapes tell them: of the rest those that
            NVIDIA and rosinality train with, a `lr_multiplier` of 0.01 and no `conv_clamp`.
        weights: Under official names, complete but for ``mapping.w_avg`` where the file has none.
    """

    kind: str
    config: dict[str, Any]
    weights: dict[str, Tensor]


def bare(name: str) -> str:
    """Remove what DataParallel and `torch.compile` put before a name."""
    return re.sub(r"^((module|_orig_mod)\.)+", "", name)


def naming_of(names: Iterable[str]) -> Naming | None:
    """Tell whose generator has weights of such names; None for none that is known."""
    found = {bare(name) for name in names}
    return next((naming for naming in _NAMINGS if naming.anchor in found), None)


def chosen_entry(entries: Iterable[str], *, which: str) -> str:
    """Choose among entries of a checkpoint that hold a generator.

    Args:
        entries: Their names, at least one.
        which: ``G_ema`` for averaged weights, whose entries have "ema" in their names, or ``G``.

    Raises:
        PickleError: There are only averaged weights and others are wanted, or several of a kind.
    """
    names = list(entries)
    averaged = [name for name in names if "ema" in name.lower()]
    latest = [name for name in names if name not in averaged]
    if which == "G" and not latest:
        raise PickleError(f"it holds averaged weights alone ({averaged[0]}); set which to G_ema")
    fitting = (averaged or latest) if which == "G_ema" else latest
    if len(fitting) > 1:
        raise PickleError(
            f"it holds generators in {', '.join(fitting)}; save the one that you want alone, and "
            "load that"
        )
    return fitting[0]


def read_state_dict(theirs: Mapping[str, Tensor]) -> Generator:
    """Find out what weights are of, and translate them.

    Args:
        theirs: Weights of a generator by name.

    Raises:
        PickleError: They are of no generator that is known, or it is damaged, or lacks a part that
            cannot be made up.
    """
    naming = naming_of(theirs)
    if naming is None:
        raise PickleError(nothing_known(theirs))
    config, weights = naming.read({bare(name): value for name, value in theirs.items()})
    generator = torch.Generator().manual_seed(0)
    for size in (2**power for power in range(2, config["img_resolution"].bit_length())):
        block = f"synthesis.b{size}"
        weights.setdefault(f"{block}.resample_filter", resample_filter())
        for layer in (f"{block}.conv1", *([f"{block}.conv0"] if size > 4 else [])):
            weights.setdefault(f"{layer}.resample_filter", resample_filter())
            # Stored noise is a draw that nobody trained, and older files have none.
            noise = torch.randn(size, size, generator=generator)
            weights.setdefault(f"{layer}.noise_const", noise)
    return Generator(naming.kind, config, weights)


def nothing_known(names: Iterable[str]) -> str:
    """Say that no generator is among names."""
    some = ", ".join([*map(str, names)][:3])
    return (
        "it holds no StyleGAN2 generator by the names of NVIDIA, rosinality or BasicSR (but "
        f"{some} and so on)"
    )


def _read_official(theirs: dict[str, Tensor]) -> Read:
    """Tell from shapes how NVIDIA's network was made."""
    weights = dict(theirs)
    resolutions = sorted(
        int(found[1])
        for name in weights
        if (found := re.fullmatch(r"synthesis\.b(\d{1,4})\.conv1\.weight", name))
    )
    if resolutions != [2**power for power in range(2, len(resolutions) + 2)]:
        raise PickleError(f"it is damaged: its resolutions are {resolutions}")
    if not 8 <= resolutions[-1] <= _MAX_RESOLUTION:
        raise PickleError(f"its images have {resolutions[-1]} pixels a side")
    layers = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in weights)
    last = f"synthesis.b{resolutions[-1]}"
    try:
        hidden, inputs = weights["mapping.fc0.weight"].shape
        w_dim = weights["synthesis.b4.conv1.affine.weight"].shape[1]
        embedded, c_dim = weights.get("mapping.embed.weight", torch.empty(0, 0)).shape
        channels = [int(weights[f"synthesis.b{r}.conv1.weight"].shape[0]) for r in resolutions]
        img_channels = int(weights[f"{last}.torgb.weight"].shape[0])
    except (KeyError, IndexError, ValueError) as error:
        raise PickleError(f"its generator has no {error}") from error
    if not c_dim:
        check_inputs(inputs, w_dim)
    mapping: dict[str, Any] = {"num_layers": layers, "lr_multiplier": 0.01}
    if layers > 1:
        mapping["layer_features"] = int(hidden)
    if c_dim:
        mapping["embed_features"] = int(embedded)
    architecture = "skip" if "synthesis.b4.torgb.weight" in weights else "orig"
    if f"{last}.skip.weight" in weights:
        architecture = "resnet"
        for size in resolutions[1:]:
            weights.setdefault(f"synthesis.b{size}.skip.resample_filter", resample_filter())
    config = {
        "z_dim": int(inputs - embedded),
        "c_dim": int(c_dim),
        "w_dim": int(w_dim),
        "img_resolution": resolutions[-1],
        "img_channels": img_channels,
        "mapping_kwargs": mapping,
        "synthesis_kwargs": {
            "channels": tuple(channels),
            "conv_clamp": None,
            "architecture": architecture,
        },
    }
    return config, weights


_NAMINGS = (
    Naming("state_dict of NVIDIA's network", "synthesis.b4.const", _read_official),
    Naming("rosinality", "conv1.conv.modulation.weight", read_rosinality),
    Naming("BasicSR", "style_conv1.modulated_conv.weight", read_basicsr),
)
