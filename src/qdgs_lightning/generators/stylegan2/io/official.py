"""NVIDIA's pickles of StyleGAN2, read as data.

A file is one pickle of a dict with the networks ``G``, ``D`` and ``G_ema``. Each module of a
network is a call of ``torch_utils.persistence._reconstruct_persistent_obj`` with the source code of
its class, which NVIDIA's loader executes, and its ``__dict__``. Here the source is only hashed.
"""

import hashlib
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from qdgs_lightning.formats.inert_pickle.machine import (
    Budget,
    Call,
    Name,
    PickleError,
    load,
    ordered_dict,
)
from qdgs_lightning.formats.inert_pickle.numpy import SCALAR_CALLS
from qdgs_lightning.generators.stylegan2.io.storages import TENSOR_CALLS

_VERSION = 6
_CLASSES = frozenset(
    {
        "Generator",
        "MappingNetwork",
        "SynthesisNetwork",
        "SynthesisBlock",
        "SynthesisLayer",
        "ToRGBLayer",
        "FullyConnectedLayer",
        "Conv2dLayer",
    }
)
_MAX_NESTING = 8
_MAX_NAME = 200
_MAX_WEIGHTS = 2000


@dataclass(frozen=True)
class Module:
    """A module as the file describes it.

    Attributes:
        class_name: What NVIDIA calls it.
        state: Its attributes, parameters and submodules among them.
        source_hash: SHA-256 of the source code that came with it and was not executed.
    """

    class_name: str
    state: dict[str, Any]
    source_hash: str

    @property
    def modules(self) -> dict[str, "Module"]:
        """Its submodules."""
        modules = self.state.get("_modules")
        if not isinstance(modules, dict) or not all(
            isinstance(m, Module) for m in modules.values()
        ):
            raise PickleError(f"it is damaged: {self.class_name} without submodules")
        return modules

    def tensors(self) -> dict[str, Tensor]:
        """Its own parameters and buffers."""
        found: dict[str, Tensor] = {}
        for kind in ("_parameters", "_buffers"):
            own = self.state.get(kind)
            if not isinstance(own, dict):
                raise PickleError(f"it is damaged: {self.class_name} without {kind}")
            for name, value in own.items():
                if isinstance(value, Tensor):
                    found[str(name)] = value
                elif value is not None:
                    raise PickleError(f"it is damaged: {kind} {name} is no tensor")
        return found

    def get(self, name: str, kind: type) -> Any:  # noqa: ANN401
        """Return an attribute of a kind."""
        value = self.state.get(name)
        if type(value) is not kind:
            raise PickleError(f"it is damaged: {self.class_name} has no {name}")
        return value


@dataclass
class Network:
    """A generator, as an official file describes it.

    Attributes:
        root: The module ``Generator``.
        weights: All tensors under their official names.
        modules: All modules under theirs.
        sources: SHA-256 of the sources that came with it and were not executed.
        trained_on: File name of its training set, where the file notes it.
    """

    root: Module
    trained_on: str | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._collect("", self.root, 0)

    def _collect(self, prefix: str, module: Module, depth: int) -> None:
        """Walk down from a module."""
        if depth > _MAX_NESTING or len(self.modules) > 1000 or len(prefix) > _MAX_NAME:
            raise PickleError("its modules are nested deeper than any network's")
        if module.class_name not in _CLASSES:
            raise PickleError(f"its generator holds a {module.class_name}, which StyleGAN2 has not")
        self.modules[prefix.rstrip(".")] = module
        self.sources.add(module.source_hash)
        for name, tensor in module.tensors().items():
            if len(self.weights) >= _MAX_WEIGHTS or len(name) > _MAX_NAME:
                raise PickleError("it has more weights than any network, or longer names")
            self.weights[prefix + name] = tensor
        for name, child in module.modules.items():
            self._collect(f"{prefix}{name}.", child, depth + 1)


def read_official(file: mmap, *, which: str = "G_ema") -> Network:
    """Read one generator of an official pickle.

    Args:
        file: Where from.
        which: ``G_ema``, the averaged weights, or ``G``, those of the last step.

    Raises:
        PickleError: The file is damaged, of another kind, or asks for more than data.
    """
    tree = load(file, budget=Budget(len(file)), calls=_CALLS)
    if not isinstance(tree, dict) or not isinstance(tree.get(which), Module):
        raise PickleError(f"it holds no network {which}")
    root: Module = tree[which]
    if root.class_name != "Generator":
        raise PickleError(f"its {which} is a {root.class_name} and no Generator")
    options = tree.get("training_set_kwargs")
    trained_on = options.get("path") if isinstance(options, dict) else None
    return Network(root, PurePath(trained_on).name if isinstance(trained_on, str) else None)


def _module(meta: object) -> Module:
    """Stand in for ``_reconstruct_persistent_obj``: note what was to be made."""
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise PickleError("it is damaged: a module without a class")
    if meta.get("version") != _VERSION:
        raise PickleError(f"its modules are not of version {_VERSION}, the one that is known")
    name, state, source = (meta.get(key) for key in ("class_name", "state", "module_src"))
    if not isinstance(name, str) or not isinstance(state, dict) or not isinstance(source, str):
        raise PickleError("it is damaged: a module without a name, a state or a source")
    digest = hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()
    return Module(name, state, digest)


def _tensorflow(*_: object) -> None:
    """Stand in for a network of TensorFlow."""
    raise PickleError(
        "it was written by the TensorFlow version of StyleGAN; convert it with legacy.py of "
        "NVIDIA's stylegan2-ada-pytorch (--source=OLD --dest=NEW) and load what that writes"
    )


def _set(items: object = ()) -> set[str]:
    """Stand in for ``set`` in protocols before 4."""
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise PickleError("it is damaged: a set of anything but names")
    return set(items)


_CALLS: dict[Name, Call] = {
    **TENSOR_CALLS,
    **SCALAR_CALLS,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    ("dnnlib.util", "EasyDict"): ordered_dict,
    ("dnnlib.tflib.network", "Network"): _tensorflow,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
}


def configuration(network: Network) -> dict[str, Any]:
    """Return the arguments of `StyleGAN2` that an official network was made with.

    Sizes of layers follow from the weights, the rest from attributes that all versions have.

    Raises:
        PickleError: The network is not one of StyleGAN2, or of an unknown kind.
    """
    root, modules, weights = network.root, network.modules, network.weights
    resolution = root.get("img_resolution", int)
    if not 8 <= resolution <= 4096 or resolution & (resolution - 1):
        raise PickleError(f"its images have {resolution} pixels a side, which is no power of two")
    resolutions = [2**power for power in range(2, resolution.bit_length())]
    try:
        convolutions = [modules[f"synthesis.b{r}.conv1"] for r in resolutions]
        blocks = [modules[f"synthesis.b{r}"] for r in resolutions]
        dense = [module for name, module in modules.items() if name.startswith("mapping.fc")]
        widths = [int(weights[f"synthesis.b{r}.conv1.weight"].shape[0]) for r in resolutions]
        hidden = int(weights["mapping.fc0.weight"].shape[0])
    except (KeyError, IndexError) as error:
        raise PickleError(f"its generator has no {error}") from error
    if _common("activation", [*convolutions, *dense], str) != "lrelu":
        raise PickleError("its layers have another activation than StyleGAN2's")
    clamp = _common("conv_clamp", convolutions, float, int, type(None))
    architecture = _common("architecture", blocks, str)
    gain = _common("bias_gain", dense, float, int)
    c_dim = root.get("c_dim", int)
    mapping: dict[str, Any] = {"num_layers": len(dense), "lr_multiplier": float(gain)}
    if len(dense) > 1:
        mapping["layer_features"] = hidden
    if c_dim and "mapping.embed.weight" in weights:
        mapping["embed_features"] = int(weights["mapping.embed.weight"].shape[0])
    return {
        **{name: root.get(name, int) for name in ("z_dim", "w_dim", "img_channels")},
        "c_dim": c_dim,
        "img_resolution": resolution,
        "mapping_kwargs": mapping,
        "synthesis_kwargs": {
            "channels": tuple(widths),
            "conv_clamp": clamp,
            "architecture": architecture,
        },
    }


def _common(name: str, modules: list[Module], *kinds: type) -> Any:  # noqa: ANN401 (of the kinds)
    """Return the attribute that all modules have alike.

    Raises:
        PickleError: They differ, or it is of another kind.
    """
    values = [module.state.get(name) for module in modules]
    # By type first: comparing or hashing what is nested may never end.
    if not values or not all(type(value) in kinds and value == values[0] for value in values):
        raise PickleError(f"its layers have no {name} in common that is known")
    return values[0]


def without_noise_filled(network: Network) -> dict[str, Tensor]:
    """Return the weights; layers that were made without noise get noise of no strength."""
    weights = dict(network.weights)
    resolution = network.root.get("img_resolution", int)
    for size in (2**power for power in range(2, resolution.bit_length())):
        for name in (f"synthesis.b{size}.conv0", f"synthesis.b{size}.conv1"):
            module = network.modules.get(name)
            if module is not None and module.state.get("use_noise") is False:
                weights[f"{name}.noise_strength"] = torch.zeros([])
                weights[f"{name}.noise_const"] = torch.zeros(size, size)
    return weights
