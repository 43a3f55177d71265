"""Writes files in the format of NVIDIA's pickles, without NVIDIA's code."""

import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from tests.generators.stylegan2.parity import Parity


class EasyDict(dict[str, object]):
    """Their dict with attributes."""


class Persistent:
    """Pickles as a call of `_reconstruct_persistent_obj`."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str = "pass\n") -> None:
        self.state = state
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self) -> tuple[object, ...]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@contextmanager
def their_names() -> Iterator[None]:
    """Let pickle find the names that such files refer to."""

    def _reconstruct_persistent_obj(meta: object) -> None:
        raise AssertionError("nobody should call this")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence, utilities = ModuleType("torch_utils.persistence"), ModuleType("dnnlib.util")
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    utilities.EasyDict = EasyDict  # type: ignore[attr-defined]
    names = {
        "torch_utils": ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": ModuleType("dnnlib"),
        "dnnlib.util": utilities,
    }
    home = EasyDict.__module__
    sys.modules.update(names)
    EasyDict.__module__ = "dnnlib.util"
    try:
        yield
    finally:
        EasyDict.__module__ = home
        for name in names:
            del sys.modules[name]


def _attributes(name: str, parity: Parity) -> tuple[str, dict[str, Any]]:
    """Return the class of a module, and what the reader needs of its attributes."""
    config, last = parity.config, name.rpartition(".")[2]
    synthesis = config["synthesis_kwargs"]
    clamp = synthesis.get("conv_clamp")
    if name == "":
        sizes = {key: config[key] for key in ("z_dim", "c_dim", "w_dim", "img_channels")}
        return "Generator", {**sizes, "img_resolution": config["img_resolution"]}
    if name == "mapping":
        return "MappingNetwork", {"num_layers": config["mapping_kwargs"]["num_layers"]}
    if name == "synthesis":
        return "SynthesisNetwork", {}
    if last.startswith("b"):
        return "SynthesisBlock", {"architecture": synthesis.get("architecture", "skip")}
    if last.startswith("conv"):
        gain = np.float64(np.sqrt(2))  # as theirs is: a scalar of numpy
        layer = {"conv_clamp": clamp, "activation": "lrelu", "act_gain": gain, "use_noise": True}
        return "SynthesisLayer", layer
    if last == "torgb":
        return "ToRGBLayer", {"conv_clamp": clamp}
    if last == "skip":
        return "Conv2dLayer", {"activation": "linear"}
    mapped = last.startswith("fc")
    activation = "lrelu" if mapped else "linear"
    return "FullyConnectedLayer", {"activation": activation, "bias_gain": 0.01 if mapped else 1}


def module(
    parity: Parity, name: str = "", *, source: str = "pass\n", ordered: bool = True
) -> Persistent:
    """Describe a module of a network and all below it.

    Args:
        parity: The network.
        name: The module.
        source: The text of the file that is said to define it.
        ordered: Containers of torch 1, otherwise those of torch 2.
    """
    container: type[dict[str, Any]] = OrderedDict if ordered else dict
    prefix = f"{name}." if name else ""
    own: dict[str, Tensor] = {}
    children: list[str] = []
    for key, value in parity.weights.items():
        if key.startswith(prefix):
            first, dot, _ = key.removeprefix(prefix).partition(".")
            if dot:
                children.append(first)
            else:
                own[first] = value
    buffers = ("w_avg", "noise_const", "resample_filter")
    class_name, attributes = _attributes(name, parity)
    state = {
        "training": False,
        "_parameters": container(
            {key: nn.Parameter(own[key]) for key in own if key not in buffers}
        ),
        "_buffers": container({key: own[key] for key in own if key in buffers}),
        "_non_persistent_buffers_set": {"made_anew"},
        "_forward_hooks": OrderedDict(),
        "_modules": container(
            {
                child: module(parity, prefix + child, source=source, ordered=ordered)
                for child in dict.fromkeys(children)
            }
        ),
        **attributes,
        "_init_args": (),
        "_init_kwargs": EasyDict(anything=1),
    }
    return Persistent(class_name, state, source)


def official_file(
    parity: Parity,
    *,
    protocol: int = 4,
    source: str = "pass\n",
    ordered: bool = True,
    trained_on: str = "x.zip",
    **others: object,
) -> bytes:
    """Return an official file of a network.

    Args:
        parity: The network.
        protocol: Of the pickle.
        source: The text of the file that is said to define its classes.
        ordered: See `module`.
        trained_on: Where the training set is said to be.
        others: Further networks than ``G_ema``.
    """
    with their_names():
        network = module(parity, source=source, ordered=ordered)
        content = {"training_set_kwargs": EasyDict(path=trained_on), "G_ema": network, **others}
        return pickle.dumps(content, protocol=protocol)


def small_parity() -> Parity:
    """Return the smallest network, with few numbers, so that files are small."""
    parity = Parity("sg2_res32_orig")
    parity.config["mapping_kwargs"] = {"num_layers": 1}
    parity.config["img_resolution"] = 8
    parity.config["synthesis_kwargs"] = {"architecture": "orig"}
    weights = {}
    for name, value in parity.weights.items():
        if name.startswith(("mapping.fc1", "synthesis.b16", "synthesis.b32.conv")):
            continue
        if name == "synthesis.b32.resample_filter":
            continue
        weights[name.replace("b32.torgb", "b8.torgb")] = value
    parity.weights = weights
    return parity
