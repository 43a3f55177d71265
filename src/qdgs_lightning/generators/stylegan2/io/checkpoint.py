"""Loading StyleGAN2 from the files that people hold, and keeping it in one that is safe."""

import hashlib
import json
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.formats.inert_pickle.machine import PickleError
from qdgs_lightning.generators.stylegan2.io.assembly import assembled, check_finite, sampled_styles
from qdgs_lightning.generators.stylegan2.io.configuration import checked_configuration
from qdgs_lightning.generators.stylegan2.io.official import (
    configuration,
    read_official,
    without_noise_filled,
)
from qdgs_lightning.generators.stylegan2.io.state_dicts import (
    chosen_entry,
    naming_of,
    nothing_known,
    read_state_dict,
)
from qdgs_lightning.generators.stylegan2.io.torch_files import TorchFile
from qdgs_lightning.generators.stylegan2.network import StyleGAN2, StyleGAN2Error
from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.utils.progress import progress

_KEY = "stylegan2"
_STD = "w_std"
_MAX_BYTES = 4 * 2**30
_LARGE = 100 * 10**6  # bytes from which reading is shown
_CHUNK = 16 * 2**20
_MAX_MADE = 2**26  # numbers that readers may add: noise of no strength, up to 4096 pixels a side


class CheckpointError(QDGSError):
    """A checkpoint that is corrupt, unsafe or of another kind."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A network, and where it comes from.

    Attributes:
        network: In evaluation mode, without gradients for its weights.
        w_std: Standard deviation of each coordinate of w, over 10,000 mapped latents, ``[w_dim]``.
        config: The arguments of `StyleGAN2`; in ``synthesis_kwargs`` are ``channels``,
            ``conv_clamp`` and ``architecture``.
        kind: What the file was.
        sha256: Of the file.
        sources: SHA-256 of source code that came with the network and was not executed.
        trained_on: File name of the training set, where the file notes it.
    """

    network: StyleGAN2
    w_std: Tensor
    config: dict[str, Any]
    kind: str
    sha256: str
    sources: tuple[str, ...] = ()
    trained_on: str | None = None


def load_stylegan2(path: str | Path, *, which: str = "G_ema") -> StyleGAN2:
    """Load a generator network; nothing in the file is executed.

    Args:
        path: An official pickle of stylegan2-ada-pytorch or stylegan3, a checkpoint of rosinality's
            stylegan2-pytorch or of BasicSR, a state_dict of any of these generators (`torch.save`
            or safetensors), or a file of `save_stylegan2`. A state_dict does not say everything:
            noise is drawn where there is none, the average style is measured, and none of NVIDIA's
            is clamped.
        which: ``G_ema``, the averaged weights, or ``G``, those of the last step.

    Returns:
        The network in evaluation mode, without gradients for its weights, on the CPU.

    Raises:
        CheckpointError: There is no such file, or it is corrupt, unsafe or of another kind.
    """
    return read_checkpoint(path, which=which).network


def read_checkpoint(path: str | Path, *, which: str = "G_ema") -> Checkpoint:
    """Load a generator network and say where it comes from; see `load_stylegan2`."""
    path = Path(path)
    if which not in ("G_ema", "G"):
        raise CheckpointError(f"which is {which!r}; give 'G_ema' or 'G'.")
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise CheckpointError(f"{path} is a folder; give the checkpoint file within it.")
        if size == 0:
            raise CheckpointError(f"{path} is empty; download it again.")
        if size > _MAX_BYTES:
            raise CheckpointError(f"{path} has {size:,} bytes, more than any StyleGAN2; check it.")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(path, data, which)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"There is no checkpoint {path.absolute()}; check the path."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); check it.") from error


def _read(path: Path, data: mmap.mmap, which: str) -> Checkpoint:
    """Find out what a file is, and load it."""
    head = data[:512]
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a Git LFS pointer and not the checkpoint; run `git lfs pull`, or download "
            "it."
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(
            f"{path} is a web page, perhaps one that asks for a login, and not the checkpoint; "
            "download it again."
        )
    sha256 = _sha256(path, data)
    try:
        found = _found(path, data, which)
        # Two bytes at least for each number, but for those that the reader made itself.
        if sum(value.numel() for value in found.weights.values()) > len(data) / 2 + _MAX_MADE:
            raise PickleError("it is damaged: its tensors have more numbers than the file")
        config = checked_configuration(found.config)
        network = assembled(config, found.weights)
        w_std = found.w_std
        if w_std is None:
            w = sampled_styles(network)
            w_std = w.std(dim=0).clamp(min=1e-6).float()
            if not found.knows_average:
                network.mapping.w_avg.copy_(w.mean(dim=0))
        if w_std.shape != network.mapping.w_avg.shape or not (w_std > 0).all():
            raise PickleError(f"{_STD} is no standard deviation of its styles")
        check_finite(_STD, w_std)
    except (PickleError, StyleGAN2Error) as error:
        damaged = str(error).startswith(("it is damaged", "it ends too early"))
        advice = "; bring another copy" if damaged else ""
        raise CheckpointError(f"{path} cannot be loaded: {error}{advice}.") from error
    # What a file says may be of any type, and no check above knows all that could be done with it.
    except (
        ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError,
        EOFError, MemoryError, struct.error,
    ) as e:  # fmt: skip
        raise CheckpointError(
            f"{path} cannot be loaded: it is damaged: {e}; bring another copy."
        ) from e
    return Checkpoint(
        network=network,
        w_std=w_std,
        config=config,
        kind=found.kind,
        sha256=sha256,
        sources=found.sources,
        trained_on=found.trained_on,
    )


def _sha256(path: Path, data: mmap.mmap) -> str:
    """Return the SHA-256 of a file, with a progress line where it takes a while to read it."""
    shown = len(data) >= _LARGE and os.environ.get("LOCAL_RANK", "0") == "0"
    digest = hashlib.sha256()
    doing = f"Reading {path.name}"
    with progress(doing, len(data), unit="bytes", brief=True, shown=shown) as meter:
        for start in range(0, len(data), _CHUNK):
            digest.update(data[start : start + _CHUNK])
            meter.update(min(start + _CHUNK, len(data)))
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a file holds; see `Checkpoint`.

    Attributes:
        knows_average: Whether w_avg is that of the file; the training code of rosinality keeps
            none.
    """

    kind: str
    config: dict[str, Any]
    weights: dict[str, Tensor]
    w_std: Tensor | None = None
    knows_average: bool = True
    sources: tuple[str, ...] = ()
    trained_on: str | None = None


def _found(path: Path, data: mmap.mmap, which: str) -> _Found:
    """Read a file of any of the kinds.

    Raises:
        PickleError: It is damaged, or of none of them.
    """
    head = data[:512]
    if head[8:9] == b"{":
        header, weights = _read_safetensors(path)
        if header is None:
            return _of_state_dict(weights)
        trained_on = header.get("trained_on")
        return _Found(
            kind="safetensors",
            config=header["config"],
            w_std=weights.pop(_STD, torch.empty(0)),
            weights=weights,
            trained_on=trained_on if isinstance(trained_on, str) else None,
        )
    if TorchFile.accepts(head):
        with TorchFile(path, data) as file:
            return _of_torch_file(file, which)
    if head[:1] != b"\x80":
        raise PickleError("it is neither a pickle nor a file of torch or safetensors")
    official = read_official(data, which=which)
    return _Found(
        kind=f"official pickle, {which}",
        config=configuration(official),
        weights=without_noise_filled(official),
        sources=tuple(sorted(official.sources)),
        trained_on=official.trained_on,
    )


def _of_torch_file(file: TorchFile, which: str) -> _Found:
    """Read the generator of a checkpoint; ``latent_avg`` is what rosinality's conversion adds."""
    entries = {
        entry: weights
        for entry, weights in file.entries().items()
        if naming_of(map(str, weights)) is not None
    }
    if not entries:
        raise PickleError(nothing_known(file.tree if isinstance(file.tree, dict) else ["no names"]))
    weights = file.tensors(entries[chosen_entry(entries, which=which)])
    average = file.tree.get("latent_avg") if isinstance(file.tree, dict) else None
    return _of_state_dict(weights, None if average is None else file.tensor(average).flatten())


def _of_state_dict(theirs: dict[str, Tensor], average: Tensor | None = None) -> _Found:
    """Read a generator of which there are weights alone, and perhaps its average style."""
    generator = read_state_dict(theirs)
    weights = generator.weights
    if average is not None:
        weights["mapping.w_avg"] = average
    knows_average = "mapping.w_avg" in weights
    weights.setdefault("mapping.w_avg", torch.zeros(generator.config["w_dim"]))
    return _Found(
        kind=generator.kind,
        config=generator.config,
        weights=weights,
        knows_average=knows_average,
    )


def save_stylegan2(checkpoint: Checkpoint, path: Path) -> None:
    """Keep a network in a safetensors file, which `load_stylegan2` reads in a moment.

    Args:
        checkpoint: What to keep.
        path: Where; its folder is made if need be.

    Raises:
        CheckpointError: Its configuration is none that can be read again, for example one without
            the channels of each resolution.
        OSError: The file cannot be written.
    """
    try:
        checked_configuration(checkpoint.config)
    except PickleError as error:
        raise CheckpointError(f"{path} is not written, for {error}.") from error
    weights = {**checkpoint.network.state_dict(), _STD: checkpoint.w_std}
    state = {name: value.contiguous() for name, value in weights.items()}
    header = json.dumps(
        {
            "config": checkpoint.config,
            "trained_on": checkpoint.trained_on,
            "origin": {"kind": checkpoint.kind, "sha256": checkpoint.sha256},
        }
    )
    with replacing(path) as unfinished:
        save_file(state, unfinished, {_KEY: header})


def _read_safetensors(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """Read a file of `save_stylegan2`, or another, which has no header.

    Raises:
        PickleError: It is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = json.loads(metadata[_KEY]) if _KEY in metadata else None
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PickleError(f"it is no whole file of safetensors ({error})") from error
    return header, weights
