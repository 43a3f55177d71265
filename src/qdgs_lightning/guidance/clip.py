"""CLIP models through open_clip: any of its names, or the small one that the package ships."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from qdgs_lightning.errors import QDGSError, did_you_mean
from qdgs_lightning.guidance.clip_files import LayoutError, read_other_layout
from qdgs_lightning.utils.hashing import fingerprint
from qdgs_lightning.weights import packaged_weights, resolve_weights

SHAPES_CLIP = "shapes_clip"
"""Name of the small CLIP of the shapes: an open_clip configuration and weights trained for it."""

AVATARS_CLIP = "avatars_clip"
"""Name of the small CLIP of the avatars."""

SMALL_CLIPS = (SHAPES_CLIP, AVATARS_CLIP)

Tokenizer = Callable[[list[str]], Tensor]

_HUB, _FOLDER = "hf-hub:", "local-dir:"  # open_clip's words for models that bring all they need
_FEW = 6  # tags, or names of weights, that a message lists
_LONG = 200  # characters of another library's message


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
        model: A name that open_clip knows, such as ``ViT-B-32`` or ``ViT-B/32``; one of
            `SMALL_CLIPS`; or, as open_clip takes them, ``hf-hub:ORGANISATION/REPOSITORY`` or
            ``local-dir:FOLDER``, whose weights lie beside their configuration.
        pretrained: A tag of open_clip for that model, the path of a local file, the name of
            weights that the package ships, or ``None`` for random weights. Files may be open_clip's
            own, OpenAI's archives of TorchScript (whose code is not executed), or by the names of
            Hugging Face's ``CLIPModel``. A tag says how images
            are normalised and whether its weights were trained with QuickGELU, and a file does
            not. It gets images normalised as for its siblings with tags (only those of ViT-L-14
            differ: a file of ``laion2b_s32b_b82k`` would need other statistics than it gets, with
            a warning) and the activation of its model: one of OpenAI's needs a name that ends in
            ``-quickgelu``, and any other name warns. Not asked with ``hf-hub:`` and ``local-dir:``.

    Returns:
        The model in evaluation mode, float32, on the CPU.

    Raises:
        CLIPError: The model or tag is unknown, or a hub cannot be reached; then the sentence
            names the file to bring.
    """
    name = _known_name(model)
    if _brings_weights(name):
        return _create_whole(name, pretrained)
    model = name
    try:
        source = _find_weights(model, pretrained)
        of_file = source is not None and Path(source).is_file()
        if of_file:
            _check_activation(model)
        other = read_other_layout(Path(source)) if source is not None and of_file else None
        tag = open_clip.get_pretrained_cfg(model, source) if source and not of_file else {}
        with nullcontext() if other is None else _weights_to_come():
            clip: nn.Module = open_clip.create_model(
                model,
                pretrained=source if other is None else None,
                # By itself open_clip takes from a tag how images are normalised, and only this not.
                force_quick_gelu=tag.get("quick_gelu", False),
                force_preprocess_cfg=_statistics(model) if of_file else None,
            )
        if other is not None:
            _fill(clip, other, model, pretrained)
    except QDGSError:
        raise
    except LayoutError as error:
        raise CLIPError(
            f"The weights {pretrained} are of another layout than open_clip's ({error}): give "
            "those that open_clip publishes for this model, or its tag."
        ) from error
    except Exception as error:  # hubs, HTTP libraries and loaders each raise their own types
        raise CLIPError(_what_to_bring(model, pretrained, error)) from error
    return clip.eval()


def create_tokenizer(model: str) -> Tokenizer:
    """Return open_clip's tokenizer for a model: sentences to token indices ``[n, length]``.

    Raises:
        CLIPError: The model is unknown, or its tokenizer is one of Hugging Face's (those of SigLIP
            and of multilingual models are) and the extra ``transformers`` or its files are missing.
    """
    name = _known_name(model)
    try:
        if name.startswith(_HUB):  # where there is no configuration, open_clip would guess
            open_clip.get_model_config(name)
        tokenizer: Tokenizer = open_clip.get_tokenizer(name)
    except ModuleNotFoundError as error:
        raise CLIPError(
            f"The tokenizer of {model} needs {error.name}, which is not installed: "
            "`pip install 'qdgs-lightning[transformers]'`."
        ) from error
    except Exception as error:  # as many types as there are libraries below
        if name.startswith(_HUB) and not isinstance(error, ImportError):
            raise CLIPError(_what_to_fetch(name, error)) from error
        where = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
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


def _known_name(model: str) -> str:
    """Return open_clip's name of a model, once it knows of the small CLIPs; refuse unknown models.

    OpenAI writes ``ViT-B/32`` and ``ViT-L/14@336px``.
    """
    if model.startswith(_FOLDER):
        config = Path(model.removeprefix(_FOLDER)) / "open_clip_config.json"
        if not config.is_file():
            raise CLIPError(
                f"There is no {config}: `{_FOLDER}` needs a folder as open_clip saves it."
            )
        return model
    if model.startswith(_HUB):
        return model
    model = model.replace("/", "-").replace("@336px", "-336")
    for name in SMALL_CLIPS:
        if name not in open_clip.list_models():
            open_clip.add_model_config(Path(str(files("qdgs_lightning.guidance") / f"{name}.json")))
    if model not in open_clip.list_models():
        raise CLIPError(
            f"open_clip knows no model '{model}'{did_you_mean(model, open_clip.list_models())}: "
            f"choose {' or '.join(SMALL_CLIPS)}, or a name from open_clip.list_models()."
        )
    return model


def _brings_weights(model: str) -> bool:
    """Say whether a model's weights lie beside its configuration."""
    return model.startswith((_HUB, _FOLDER))


def _create_whole(model: str, pretrained: str | None) -> nn.Module:
    """Build a model from a repository or a folder with all that it needs."""
    if pretrained is not None and pretrained not in packaged_weights():  # the latter by default
        warnings.warn(
            f"{model} brings its own weights, and `pretrained: {pretrained}` is not used.",
            stacklevel=3,
        )
    try:
        # Without this, open_clip goes on with random weights where it finds none.
        clip: nn.Module = open_clip.create_model(model, require_pretrained=True)
    except Exception as error:  # hubs, HTTP libraries and loaders each raise their own types
        if model.startswith(_HUB):
            raise CLIPError(_what_to_fetch(model, error)) from error
        raise CLIPError(
            f"{model} cannot be loaded ({_short(error)}): give a folder with open_clip_config.json "
            "and open_clip_model.safetensors, as open_clip publishes them."
        ) from error
    return clip.eval()


def _what_to_fetch(model: str, error: Exception) -> str:
    """Say how to do without a hub."""
    return (
        f"{model} could not be had from the Hugging Face hub ({_short(error)}): fetch its "
        "open_clip_config.json and open_clip_model.safetensors on another machine and set "
        f"`model: {_FOLDER}FOLDER`."
    )


@contextmanager
def _weights_to_come() -> Iterator[None]:
    """Keep open_clip from warning that a model is random, where weights are loaded afterwards."""

    def relevant(record: logging.LogRecord) -> bool:
        return "initialized randomly" not in record.getMessage()

    logger = logging.getLogger()  # open_clip logs as the root
    logger.addFilter(relevant)
    try:
        yield
    finally:
        logger.removeFilter(relevant)


def _fill(clip: nn.Module, weights: dict[str, Tensor], model: str, pretrained: str | None) -> None:
    """Load weights of another layout.

    Raises:
        CLIPError: They are of another network.
    """
    target = clip.state_dict()
    if "positional_embedding" not in target:  # its text is in a tower of its own
        weights = convert_to_custom_text_state_dict(weights)
    reasons = [
        f"{said} {', '.join(names[:_FEW])}{', ..' if len(names) > _FEW else ''}"
        for said, names in (
            ("they lack", sorted(target.keys() - weights.keys())),
            ("they have", sorted(weights.keys() - target.keys())),
            (
                "of another shape are",
                [n for n in target if n in weights and weights[n].shape != target[n].shape],
            ),
        )
        if names
    ]
    if reasons:
        raise CLIPError(
            f"The weights {pretrained} do not fit {model} ({'; '.join(reasons)}): give weights "
            "made for it."
        )
    clip.load_state_dict(weights)


def _short(error: Exception) -> str:
    """Return the beginning of another library's message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONG else f"{text[:_LONG].rstrip()} .."


def _find_weights(model: str, pretrained: str | None) -> str | None:
    """Return a local file of weights; a tag is downloaded before any time goes into the model."""
    if pretrained is None or Path(pretrained).is_file():
        return pretrained
    if pretrained in packaged_weights():
        return str(resolve_weights(pretrained))
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags:
        hint = did_you_mean(pretrained.lower(), tags)
        some = ", ".join(tags[:_FEW]) + (", .." if len(tags) > _FEW else "")
        known = f", or a tag ({some})" if tags else ", as it has no tags"
        raise CLIPError(
            f"'{pretrained}' is neither a file nor a tag of {model}{hint}: give the path of its "
            f"weights{'' if hint else known}."
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
        return (
            f"The weights {pretrained} do not fit {model} ({_short(error)}): give weights made for "
            "it."
        )
    entry = open_clip.get_pretrained_cfg(model, pretrained)
    where = str(entry.get("hf_hub") or entry.get("url")).rstrip("/")
    return (
        f"The weights '{pretrained}' of {model} could not be downloaded ({type(error).__name__}): "
        f"fetch them from {where} on another machine (open_clip_model.safetensors where it is a "
        "Hugging Face repository) and set `pretrained` to the path of that file."
    )
