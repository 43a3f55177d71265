"""CLIP's weights in other layouts than open_clip's: archives of OpenAI, names of Hugging Face.

Nothing in a file is executed: OpenAI publishes archives of TorchScript, whose code stays unread.
"""

import mmap
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qdgs_lightning.formats.inert_pickle.machine import PickleError
from qdgs_lightning.generators.stylegan2.io.torch_files import TorchFile

# OpenAI notes sizes beside the weights, and a mask that follows from them.
_NOTES = re.compile(r"input_resolution|context_length|vocab_size|(.*\.)?attn_mask")
_TOWERS = {"text_model.": "", "vision_model.": "visual."}
# How names begin, there and with open_clip.
_PARTS = {
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",  # which is how it is spelt there
    "vision_model.post_layernorm.": "visual.ln_post.",
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
    "logit_scale": "logit_scale",
}
_LAYER = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.in_proj.": "attn.in_proj_",
    "self_attn.out_proj.": "attn.out_proj.",
}


class LayoutError(ValueError):
    """Weights in a layout that is told from others but cannot be read."""


def read_other_layout(path: Path) -> dict[str, Tensor] | None:
    """Read a file of CLIP whose layout is not open_clip's.

    Args:
        path: An archive of TorchScript as OpenAI publishes, or a file of `torch.save` or
            safetensors with weights by the names of Hugging Face's ``CLIPModel``.

    Returns:
        Weights by the names of open_clip's `CLIP`, float32; None for any other file, which
        open_clip is to read.

    Raises:
        LayoutError: It is such a file, but of a network whose names have no counterpart.
        OSError: It cannot be read.
    """
    if path.suffix == ".safetensors":
        return _of_safetensors(path)
    with path.open("rb") as file:
        if not TorchFile.accepts(file.read(512)):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _of_torch(path, data)
            except PickleError:
                return None  # for open_clip, which says why not


def _of_safetensors(path: Path) -> dict[str, Tensor] | None:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if not _is_hugging_face(names):
                return None
            return from_hugging_face({name: file.get_tensor(name) for name in names})
    except SafetensorError:
        return None  # for open_clip, which says why not


def _of_torch(path: Path, data: mmap.mmap) -> dict[str, Tensor] | None:
    with TorchFile(path, data) as file:
        for weights in file.entries().values():
            if file.is_script:
                kept = {k: v for k, v in weights.items() if not _NOTES.fullmatch(str(k))}
                return {name: value.float() for name, value in file.tensors(kept).items()}
            if _is_hugging_face(map(str, weights)):
                return from_hugging_face(file.tensors(weights))
    return None


def _is_hugging_face(names: Iterable[str]) -> bool:
    """Tell by the two towers of Hugging Face's models."""
    return any(name.startswith(tuple(_TOWERS)) for name in names)


def from_hugging_face(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring weights of Hugging Face's ``CLIPModel`` to the names of open_clip's `CLIP`.

    Queries, keys and values are one matrix there, and projections are turned round.

    Raises:
        LayoutError: A name has no counterpart, as in SigLIP and other models with two towers.
    """
    weights: dict[str, Tensor] = {}
    for name, value in theirs.items():
        if name.endswith("position_ids") or re.search(r"\.self_attn\.[kv]_proj\.", name):
            continue  # the latter are read with their queries
        if found := re.fullmatch(r"(.+\.self_attn\.)q_proj\.(weight|bias)", name):
            parts = [theirs.get(f"{found[1]}{part}_proj.{found[2]}") for part in "qkv"]
            if any(part is None for part in parts):
                raise LayoutError(f"it lacks the keys or values beside {name}")
            name = f"{found[1]}in_proj.{found[2]}"
            value = torch.cat([part for part in parts if part is not None])
        ours = _ours(name)
        if ours is None:
            raise LayoutError(f"{name} has no counterpart in a CLIP of open_clip")
        weights[ours] = (value.T if name.endswith("projection.weight") else value).float()
    return weights


def _ours(name: str) -> str | None:
    """Translate a name."""
    pattern = r"(text_model\.|vision_model\.)encoder\.layers\.(\d+)\.(.+\.)(weight|bias)"
    if found := re.fullmatch(pattern, name):
        block = f"{_TOWERS[found[1]]}transformer.resblocks.{found[2]}"
        part = _LAYER.get(found[3])
        return f"{block}.{part}{found[4]}" if part else None
    for theirs, ours in _PARTS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return None
