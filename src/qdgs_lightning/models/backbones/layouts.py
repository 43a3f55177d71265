"""Under which names projects keep the weights of a backbone, and what those are with us."""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

from qdgs_lightning.models.backbones.base import Backbone, BackboneError
from qdgs_lightning.models.backbones.iresnet import IResNet
from qdgs_lightning.models.backbones.mobilefacenet import MobileFaceNet

ColorOrder = Literal["rgb", "bgr"]

# Where the blocks of arcface_torch's groups of layers are in our body.
_MBF_STARTS = (0, 1, 5, 6, 12, 13)
# Blocks of IR in AdaFace, CVLface and TFace, and the older ones of face.evoLVe.
_SIX = dict(zip("012345", ("bn1", "conv1", "bn2", "prelu", "conv2", "bn3"), strict=True))
_FIVE = dict(zip("01234", ("bn1", "conv1", "prelu", "conv2", "bn3"), strict=True))
_IR_ENDS = {
    "input_layer.0.": "conv1.",
    "input_layer.1.": "bn1.",
    "input_layer.2.": "prelu.",
    "output_layer.0.": "bn2.",
    "output_layer.3.": "fc.",
    "output_layer.4.": "features.",
}


class Layout(NamedTuple):
    """One way to name the weights of a network.

    Attributes:
        network: What is named so.
        anchor: A name that this way has and no other of the same backbone.
        rename: Gives the names that a file has their names with us, those it does not know aside.
        without: How our names begin of weights that such files never have, and that begin anew.
    """

    network: str
    anchor: str
    rename: Callable[[Collection[str]], dict[str, str]]
    without: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where in a file the backbone is.

    Attributes:
        layout: How its weights are named.
        prefix: What stands before each name.
        format: Whose file it is.
    """

    layout: Layout
    prefix: str
    format: str


def _same(names: Collection[str]) -> dict[str, str]:
    return {name: name for name in names}


def _rename_six(names: Collection[str]) -> dict[str, str]:
    return _rename_ir(names, {**_SIX, "se_block": "se"})


def _rename_five(names: Collection[str]) -> dict[str, str]:
    return _rename_ir(names, {**_FIVE, "5": "se"})


def _rename_ir(names: Collection[str], parts: Mapping[str, str]) -> dict[str, str]:
    """IR counts its blocks through; a convolution in the shortcut begins a stage."""
    starts = {0} | {
        int(match[1])
        for name in names
        if (match := re.match(r"body\.(\d+)\.shortcut_layer\.0\.weight$", name))
    }
    renamed = {}
    for name in names:
        for theirs, ours in _IR_ENDS.items():
            if name.startswith(theirs):
                renamed[name] = ours + name.removeprefix(theirs)
        match = re.match(r"body\.(\d+)\.(res_layer|shortcut_layer)\.(\w+)\.(.+)$", name)
        if match is None:
            continue
        block = int(match[1])
        first = max(start for start in starts if start <= block)
        stage = 1 + sorted(starts).index(first)
        is_shortcut = match[2] == "shortcut_layer"
        part = f"downsample.{match[3]}" if is_shortcut else parts.get(match[3], "")
        if part:
            renamed[name] = f"layer{stage}.{block - first}.{part}.{match[4]}"
    return renamed


def _rename_mbf(names: Collection[str]) -> dict[str, str]:
    """arcface_torch nests lists of layers, and groups blocks of one size."""
    ends = {"conv_sep.layers": "expand", "features.layers.0.layers": "pool"}
    last = {"features.layers.2": "fc", "features.layers.3": "features"}
    renamed = {}
    for name in names:
        if match := re.match(r"layers\.([01])\.layers\.(\d\..+)$", name):
            renamed[name] = f"stem.{match[1]}.{match[2]}"
        elif match := re.match(r"layers\.([246])\.layers\.(\d)\.layers\.(\d\..+)$", name):
            block = _MBF_STARTS[int(match[1]) - 2]
            renamed[name] = f"body.{block}.{match[2]}.{match[3]}"
        elif match := re.match(
            r"layers\.([357])\.layers\.(\d+)\.layers\.(\d)\.layers\.(\d\..+)$", name
        ):
            block = _MBF_STARTS[int(match[1]) - 2] + int(match[2])
            renamed[name] = f"body.{block}.{match[3]}.{match[4]}"
        elif match := re.match(r"(.+)\.(\w+)$", name):
            unit, _, part = match[1].rpartition(".")
            if unit in ends:
                renamed[name] = f"{ends[unit]}.{part}.{match[2]}"
            elif match[1] in last:
                renamed[name] = f"{last[match[1]]}.{match[2]}"
    return renamed


_IRESNET = Layout("IResNet", "layer1.0.prelu.weight", _same)
# A normalisation tells the three kinds of block apart, which share all other names.
_IR = Layout("IResNet", "body.0.res_layer.5.running_mean", _rename_six)
_EVOLVE = Layout("IResNet", "body.0.res_layer.4.running_mean", _rename_five)
_MBF_OURS = Layout("MobileFaceNet", "expand.0.weight", _same)
_MBF_THEIRS = Layout("MobileFaceNet", "conv_sep.layers.0.weight", _rename_mbf)
TIMM = Layout("timm's network", "", _same, without=("fc.", "features."))
"""Of a file of timm's own, whose names a `TimmBackbone` has turned into ours."""

_LAYOUTS = (_IRESNET, _IR, _EVOLVE, _MBF_OURS, _MBF_THEIRS)
# What files of the field hold and no backbone here is.
_STRANGERS = (
    Layout("an IR of bottlenecks (IR-152 and IR-200 of TFace)", "res_layer.8.running_mean", _same),
    Layout("the narrow MobileFaceNet of InsightFace_Pytorch", "conv_6_sep.conv.weight", _same),
)

_OURS = "qdgs-lightning"
_UNKNOWN = "unknown"
_FORMATS = {
    (_IRESNET, ""): "arcface_torch",
    (_IRESNET, "features."): "MagFace",
    (_IRESNET, "net."): "CVLface",
    (_IRESNET, "model.net."): "CVLface",
    (_IR, ""): "IR",
    (_EVOLVE, ""): "face.evoLVe",
    (_IR, "model."): "AdaFace",
    (_IR, "net."): "CVLface",
    (_IR, "model.net."): "CVLface",
    (_MBF_OURS, ""): _OURS,
    (_MBF_THEIRS, ""): "arcface_torch",
}


def find_places(names: Collection[str], backbone: Backbone) -> list[Place]:
    """Find where networks of a backbone's kind are among weights.

    Args:
        names: All names of weights.
        backbone: What they are for.
    """
    if isinstance(backbone, IResNet):
        layouts = [_IRESNET, _IR, _EVOLVE]
    elif isinstance(backbone, MobileFaceNet):
        layouts = [_MBF_OURS, _MBF_THEIRS]
    else:
        layouts = [Layout(type(backbone).__name__, next(iter(backbone.state_dict())), _same)]
    places = _places(names, layouts)
    known = [place for place in places if place.format != _UNKNOWN]
    return known if len(known) == 1 else places


def networks_in(names: Collection[str]) -> list[str]:
    """Name the networks of the field that weights are of."""
    return sorted({place.layout.network for place in _places(names, (*_LAYOUTS, *_STRANGERS))})


def check_place(places: list[Place], path: Path) -> Place:
    """Return the one place of a backbone.

    Raises:
        BackboneError: There is more than one, or it is of a project whose networks differ in what
            no file tells.
    """
    if len(places) > 1:
        prefixes = ", ".join(repr(place.prefix) for place in places)
        raise BackboneError(
            f"{path} holds {len(places)} networks of this kind, under the names that begin with "
            f"{prefixes}; save the state_dict of the one that you want, and give that."
        )
    if places[0].format == "MagFace":
        raise BackboneError(
            f"{path} is MagFace's, whose networks take images in [0, 1] and add 2e-5 to variances: "
            "the weights alone would give other embeddings, so bring another project's."
        )
    return places[0]


def _places(names: Collection[str], layouts: Collection[Layout]) -> list[Place]:
    """Return where a name ends in what only a backbone has."""
    places = []
    for layout in layouts:
        for name in names:
            prefix = name.removesuffix(layout.anchor)
            if prefix != name and (not prefix or prefix.endswith(".")):
                places.append(Place(layout, prefix, _format(layout, prefix, names)))
    return places


def _format(layout: Layout, prefix: str, names: Collection[str]) -> str:
    """Tell whose file it is by what stands before the names."""
    # DistributedDataParallel, and torch.compile
    bare = re.sub(r"(^|(?<=\.))(module|_orig_mod)\.", "", prefix)
    if layout.rename is _same and bare == "backbone.":
        return _OURS
    if layout is _IRESNET and not bare and f"{prefix}layer1.0.downsample.0.weight" not in names:
        return _OURS  # only we use these names for the other kind of shortcut
    if layout not in _LAYOUTS and not bare:
        return _OURS
    return _FORMATS.get((layout, bare), _UNKNOWN)


def color_order_of(place: Place, path: Path) -> ColorOrder:
    """Say which order of colours a network was trained on.

    Raises:
        BackboneError: Nobody can tell, or what CVLface wrote beside the file is damaged.
    """
    if place.format in (_OURS, "arcface_torch", "timm"):
        return "rgb"
    if place.format == "AdaFace":
        return "bgr"
    if place.format == "CVLface":
        return _cvlface_color_order(path)
    raise BackboneError(
        f"{path} does not say which order of colours its network takes; set color_order (in YAML "
        "beside init_from) to bgr for weights of AdaFace, and to rgb for those of TFace and "
        "CVLface."
    )


def _cvlface_color_order(path: Path) -> ColorOrder:
    """Read it from the configuration beside the file; CVLface takes RGB unless it says BGR."""
    # CVLface writes model.yaml for model.pt, its releases have a config.json.
    for beside in (path.with_suffix(".yaml"), path.with_name("config.json")):
        try:
            config = yaml.safe_load(beside.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise BackboneError(
                f"{beside}, which tells the order of colours of {path.name}, cannot be read; mend "
                "it, or set color_order."
            ) from error
        if isinstance(config, dict) and isinstance(config.get("conf"), dict):
            config = config["conf"]
        stated = config.get("color_space", "RGB") if isinstance(config, dict) else None
        if stated not in ("RGB", "BGR"):
            raise BackboneError(
                f"{beside} states the color_space {stated!r}, which is neither RGB nor BGR; mend "
                "it, or set color_order."
            )
        return "bgr" if stated == "BGR" else "rgb"
    return "rgb"
