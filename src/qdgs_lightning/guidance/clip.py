"""CLIP models through open_clip: any of its names, or the small one that the package ships."""

import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import open_clip
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.fingerprints import fingerprint
from qdgs_lightning.weights import packaged_weights, resolve_weights

SHAPES_CLIP = "shapes_clip"
"""Name of the small CLIP of the shapes: an open_clip configuration and weights trained for it."""

AVATARS_CLIP = "avatars_clip"
"""Name of the small CLIP of the avatars."""

SMALL_CLIPS = (SHAPES_CLIP, AVATARS_CLIP)

Tokenizer = Callable[[list[str]], Tensor]


class OpenCLIP(Protocol):
    """What this package uses of open_clip's models."""

    logit_scale: Tensor

    def encode_image(self, image: Tensor) -> Tensor:
        """Map normalised images ``[n, 3, S, S]`` to embeddings ``[n, d]``."""

    def encode_text(self, text: Tensor) -> Tensor:
        """Map tokens ``[n, length]`` to embeddings ``[n, d]``."""


class CLIPError(QDGSError):
    """A CLIP model that does not exist, or whose weights cannot be had."""


def create_clip(model: str, pretrained: str | None) -> nn.Module:
    """Build a CLIP and load its weights.

    Args:
        model: A name that open_clip knows, or one of `SMALL_CLIPS`.
        pretrained: A tag of open_clip for that model, the path of a local file, the name of
            weights that the package ships, or ``None`` for random weights. A tag says how images
            are normalised and whether its weights were trained with QuickGELU, and a file does
            not. It gets images normalised as for its siblings with tags (only those of ViT-L-14
            differ: a file of ``laion2b_s32b_b82k`` would need other statistics than it gets, with
            a warning) and the activation of its model: one of OpenAI's needs a name that ends in
            ``-quickgelu``, and any other name warns.

    Returns:
        The model in evaluation mode, float32, on the CPU.

    Raises:
        CLIPError: The model or tag is unknown, or a hub cannot be reached; then the sentence
            names the file to bring.
    """
    _check_name(model)
    try:
        source = _find_weights(model, pretrained)
        of_file = source is not None and Path(source).is_file()
        if of_file:
            _check_activation(model)
        tag = open_clip.get_pretrained_cfg(model, source) if source and not of_file else {}
        clip: nn.Module = open_clip.create_model(
            model,
            pretrained=source,
            # By itself open_clip takes from a tag how images are normalised, and only this not.
            force_quick_gelu=tag.get("quick_gelu", False),
            force_preprocess_cfg=_statistics(model) if of_file else None,
        )
    except QDGSError:
        raise
    except Exception as error:  # hubs, HTTP libraries and loaders each raise their own types
        raise CLIPError(_what_to_bring(model, pretrained, error)) from error
    return clip.eval()


def create_tokenizer(model: str) -> Tokenizer:
    """Return open_clip's tokenizer for a model: sentences to token indices ``[n, length]``.

    Raises:
        CLIPError: The model is unknown, or its tokenizer is one of Hugging Face's (those of SigLIP
            and of multilingual models are) and the extra ``transformers`` or its files are missing.
    """
    _check_name(model)
    try:
        tokenizer: Tokenizer = open_clip.get_tokenizer(model)
    except ModuleNotFoundError as error:
        raise CLIPError(
            f"The tokenizer of {model} needs {error.name}, which is not installed: "
            "`pip install 'qdgs-lightning[transformers]'`."
        ) from error
    except Exception as error:  # as many types as there are libraries below
        where = (open_clip.get_model_config(model) or {}).get("text_cfg", {})
        raise CLIPError(
            f"The tokenizer of {model} cannot be had ({type(error).__name__}): its files are those "
            f"of {where.get('hf_tokenizer_name', model)} at Hugging Face, so bring them into the "
            "cache of this machine (`hf download`), or choose another model."
        ) from error
    return tokenizer


def clip_fingerprint(clip: nn.Module) -> str:
    """Name a CLIP by what it computes, wherever its weights came from.

    Args:
        clip: A model of open_clip.

    Returns:
        16 hex digits of a hash of weights, activation and what images are brought to.
    """
    size, mean, std = image_statistics(clip)
    quick_gelu = any(isinstance(module, QuickGELU) for module in clip.modules())
    images = {"size": size, "mean": mean.flatten().tolist(), "std": std.flatten().tolist()}
    return fingerprint(clip, {"quick_gelu": quick_gelu, "images": images})


def image_statistics(clip: nn.Module) -> tuple[int, Tensor, Tensor]:
    """Return the image side, and the mean and standard deviation ``[3, 1, 1]`` that a CLIP takes.

    Args:
        clip: A model of open_clip.
    """
    visual = clip.get_submodule("visual")
    size = getattr(visual, "image_size", 224)
    mean = getattr(visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN
    std = getattr(visual, "image_std", None) or open_clip.OPENAI_DATASET_STD
    return (
        int(size[0] if isinstance(size, tuple | list) else size),
        torch.tensor(mean)[:, None, None],
        torch.tensor(std)[:, None, None],
    )


def _check_name(model: str) -> None:
    """Tell open_clip of the configurations of the small CLIPs, and refuse unknown models."""
    for name in SMALL_CLIPS:
        if name not in open_clip.list_models():
            open_clip.add_model_config(Path(str(files("qdgs_lightning.guidance") / f"{name}.json")))
    if model not in open_clip.list_models():
        raise CLIPError(
            f"open_clip knows no model '{model}': choose {' or '.join(SMALL_CLIPS)}, or a name "
            "from open_clip.list_models()."
        )


def _find_weights(model: str, pretrained: str | None) -> str | None:
    """Return a local file of weights; a tag is downloaded before any time goes into the model."""
    if pretrained is None or Path(pretrained).is_file():
        return pretrained
    if pretrained in packaged_weights():
        return str(resolve_weights(pretrained))
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags:
        raise CLIPError(
            f"'{pretrained}' is neither a file nor a tag of {model}: give the path of its weights, "
            f"or one of {', '.join(tags) or 'no tags, since it has none'}."
        )
    open_clip.download_pretrained(open_clip.get_pretrained_cfg(model, pretrained))
    # The tag and not the file, because it also says how images are normalised.
    return pretrained


def _check_activation(model: str) -> None:
    """Warn where a file's weights may have been trained with another activation than its model's.

    Neither shapes nor names tell the two apart, and with the wrong one embeddings are off.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    quick = [tag for tag in tags if open_clip.get_pretrained_cfg(model, tag).get("quick_gelu")]
    if quick and not open_clip.get_model_config(model).get("quick_gelu"):
        warnings.warn(
            f"{model} computes with GELU, and a file does not say whether it was trained with "
            f"QuickGELU: if it is of {', '.join(quick)}, set `model: {model}-quickgelu`.",
            stacklevel=2,
        )


def _statistics(model: str) -> dict[str, object] | None:
    """Return mean and standard deviation of images, as the tags of a model have them."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    entries = [open_clip.get_pretrained_cfg(model, tag) for tag in tags]
    found = [{key: entry[key] for key in ("mean", "std") if key in entry} for entry in entries]
    if any(statistics != found[0] for statistics in found):
        warnings.warn(
            f"Weights of {model} differ in how they want images normalised, and a file does not "
            f"say which it is of; it gets the statistics of the tag '{tags[0]}'.",
            stacklevel=2,
        )
    return found[0] if found else None


def _what_to_bring(model: str, pretrained: str | None, error: Exception) -> str:
    """Name the file that would have been downloaded, and what to do with it."""
    if pretrained is None or pretrained in packaged_weights() or Path(pretrained).is_file():
        return f"The weights {pretrained} do not fit {model} ({error}): give weights made for it."
    entry = open_clip.get_pretrained_cfg(model, pretrained)
    where = entry.get("hf_hub") or entry.get("url")
    return (
        f"The weights '{pretrained}' of {model} could not be downloaded ({type(error).__name__}): "
        f"fetch them from {where} on another machine (open_clip_model.safetensors where it is a "
        "Hugging Face repository) and set `pretrained` to the path of that file."
    )
