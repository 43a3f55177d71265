"""Weights that this and other projects trained, into our backbones, whole or not at all."""

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor

from qdgs_lightning.models.backbones.base import Backbone, BackboneError
from qdgs_lightning.models.backbones.entries import find_weights
from qdgs_lightning.models.backbones.files import read_weights
from qdgs_lightning.models.backbones.fit import check_layout, listed, refusal, uncounted
from qdgs_lightning.models.backbones.iresnet import IResNet
from qdgs_lightning.models.backbones.layouts import ColorOrder, color_order_of

ColorChoice = Literal["auto", "rgb", "bgr"]


class BackboneWeightsReport(NamedTuple):
    """What was read of a file. Counts of batches are not listed, as nothing depends on them.

    Attributes:
        format: Whose file it is: arcface_torch, AdaFace (and what derives from it), CVLface,
            face.evoLVe (and what has its network), timm, qdgs-lightning, IR (that network alone, of
            whomever) or unknown.
        color_order: What the network in the file takes; ours takes RGB now in either case.
        matched: Weights of the backbone that were read, by our names.
        filled: Weights that the network in the file has no need of, set so that ours does the same.
        fresh: Weights of the backbone that no file of this format has, and that begin anew.
        missing: Weights of the backbone that the file lacks or has in another shape.
        unexpected: Weights in the file, by its names, that have no place in the backbone. None of
            those that would change nothing.
        outside: Names in the file that are not of the backbone: heads and the like.
    """

    format: str
    color_order: ColorOrder
    matched: tuple[str, ...]
    filled: tuple[str, ...]
    fresh: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    outside: tuple[str, ...]

    def to_table(self) -> Table:
        """Return a table to print with rich."""
        table = Table("weights", "number", "names", title=f"{self.format}, {self.color_order}")
        for field in ("matched", "filled", "fresh", "missing", "unexpected", "outside"):
            names: tuple[str, ...] = getattr(self, field)
            table.add_row(field, str(len(names)), Text(listed(names)))
        return table


def load_backbone_weights(
    backbone: Backbone,
    path: str | Path,
    *,
    color_order: ColorChoice = "auto",
    entry: str | None = None,
    allow_partial: bool = False,
) -> BackboneWeightsReport:
    """Read weights into a backbone, which takes RGB afterwards whatever they were trained on.

    Understood are files of arcface_torch (IResNet and MobileFaceNet, alone or in a checkpoint),
    of AdaFace and projects that derive from it, of CVLface (``model.pt`` or safetensors), of
    face.evoLVe and projects with its IR, of our own trainings, and plain files of our own
    state_dict; behind DistributedDataParallel and `torch.compile` too; for a `TimmBackbone` also
    timm's own files, after which the last layers begin anew. Weights lie at the top of a file or in
    any entry of a checkpoint. Nothing in them is executed. Weights of heads are passed over.

    Networks of AdaFace take BGR: their first convolution is turned round. CVLface says RGB or BGR
    in a configuration beside the file, and RGB is taken where there is none. Note that it writes
    RGB for networks which it was told are BGR when it saves them again.

    An IR network fits an IResNet exactly, as a subsampling shortcut is a convolution too; in
    training the two differ, since batch normalisation then measures anew. The reverse loses a
    convolution and a bias, and is refused like any other file that fits in part.

    Args:
        backbone: What to fill. Left as it was when the file is refused.
        path: The file.
        color_order: What the network in the file takes; ``auto`` to tell by its format.
        entry: Which entry of a checkpoint to take, such as ``ema`` or ``state_dict_ema``; None for
            the one that holds such a backbone, where no other does.
        allow_partial: Whether to take what fits where not all does, of a network of the same
            layout: of other depth, size or last layers. Weights of another layout are refused
            although names are the same, as they mean something else.

    Raises:
        BackboneError: The file cannot be read, is damaged or unsafe, fits in part or not at all,
            or does not tell its order of colours.

    Example:
        >>> backbone = create_backbone("ir_50")
        >>> load_backbone_weights(backbone, "adaface_ir50_webface4m.ckpt").color_order
        'bgr'
    """
    if color_order not in ("auto", "rgb", "bgr"):
        raise BackboneError(f"color_order is {color_order!r}; give auto, rgb or bgr.")
    backbone = getattr(backbone, "_orig_mod", backbone)
    path = Path(path)
    tensors, place = find_weights(read_weights(path), backbone, path, entry=entry)
    inside = {
        name.removeprefix(place.prefix): value
        for name, value in tensors.items()
        if name.startswith(place.prefix)
    }
    renamed = place.layout.rename(inside)
    found = {ours: inside[theirs] for theirs, ours in renamed.items()}
    target = backbone.state_dict()
    check_layout(found, inside.keys() - renamed.keys(), backbone, path)
    order = color_order_of(place, path) if color_order == "auto" else color_order
    if order == "bgr":
        _turn_colours(found, backbone, path)
    groups = _dispensable(backbone) if isinstance(backbone, IResNet) else []
    filled = {
        name: value
        for group in groups
        if not found.keys() & group.keys()
        for name, value in group.items()
        if name in target
    }
    needless = {
        name
        for group in groups
        for name, value in group.items()
        if name not in target and name in found and _same(found[name], value)
    }
    fitting = {
        name: value
        for name, value in found.items()
        if name in target and _fits(value, target[name])
    }
    fresh = [name for name in target if name.startswith(place.layout.without)]
    taken = fitting.keys() | filled.keys() | set(fresh)
    useful = fitting.keys() | needless
    report = BackboneWeightsReport(
        format=place.format,
        color_order=order,
        matched=uncounted(fitting),
        filled=tuple(filled),
        fresh=uncounted(fresh),
        missing=uncounted(name for name in target if name not in taken),
        unexpected=uncounted(
            place.prefix + name for name in inside if renamed.get(name) not in useful
        ),
        outside=tuple(name for name in tensors if not name.startswith(place.prefix)),
    )
    if (report.missing or report.unexpected) and not (allow_partial and report.matched):
        raise BackboneError(refusal(report, found, target, path))
    backbone.load_state_dict(fitting | filled, strict=False)
    return report


def _turn_colours(found: dict[str, Tensor], backbone: Backbone, path: Path) -> None:
    """Let a network that was trained on BGR take RGB."""
    name = getattr(backbone, "colour_weight", None)
    if name is None:
        raise BackboneError(
            f"{path} cannot be read as bgr: where a {type(backbone).__name__} takes in colours is "
            "not known; set color_order to rgb where that is right."
        )
    if name in found and found[name].ndim == 4:
        found[name] = found[name].flip(1)


def _dispensable(backbone: IResNet) -> list[dict[str, Tensor]]:
    """Return weights that only some networks have, with values that make no difference.

    They are a convolution and a normalisation that pass on what they get, as IR's shortcut does,
    and the scale and the shift after IR's last normalisation.
    """
    ones, zeros = torch.ones(backbone.conv1.out_channels), torch.zeros(backbone.conv1.out_channels)
    shortcut = {
        "0.weight": torch.eye(len(ones))[:, :, None, None],
        "1.weight": ones,
        "1.bias": zeros,
        "1.running_mean": zeros,
        "1.running_var": ones - backbone.bn1.eps,
    }
    dim = backbone.embedding_dim
    return [
        {f"layer1.0.downsample.{name}": value for name, value in shortcut.items()},
        {"features.weight": torch.ones(dim), "features.bias": torch.zeros(dim)},
    ]


def _fits(value: Tensor, target: Tensor) -> bool:
    """Say whether a weight of a file can be copied to one of ours."""
    return (
        value.shape == target.shape
        and value.is_floating_point() == target.is_floating_point()
        and value.layout == torch.strided
    )


def _same(value: Tensor, other: Tensor) -> bool:
    """Say whether a weight of a file has exactly these numbers."""
    return _fits(value, other) and torch.equal(value.to(other.dtype), other)
