"""How well the network of a file fits a backbone, and what is said where it does not."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from qdgs_lightning.models.backbones.base import Backbone, BackboneError

if TYPE_CHECKING:
    from qdgs_lightning.models.backbones.weights import BackboneWeightsReport

_COUNTS = "num_batches_tracked"
_MANY = 3


def check_layout(
    found: dict[str, Tensor], unknown: Iterable[str], backbone: Backbone, path: Path
) -> None:
    """Refuse a network that shares names with the backbone but means other layers by them.

    Args:
        found: Weights of the file, by our names.
        unknown: Names in the file that have none with us.
        backbone: What they are for.
        path: The file, for messages.

    Raises:
        BackboneError: Its blocks are made of other parts, or a weight has other dimensions.
    """
    target = backbone.state_dict()
    # Any module may be a backbone, of which nothing but its names is known.
    structure = getattr(backbone, "structure", Backbone.structure)
    theirs, ours = (structure(uncounted(names)) for names in (found, target))
    reasons = [
        f"{whose} {listed(sorted(parts))}"
        for whose, parts in (
            ("only it has", theirs - ours),
            ("only the backbone has", ours - theirs),
        )
        if parts
    ]
    strange = [name for name in uncounted(unknown) if re.match(r"body\.\d+\.", name)]
    if strange:
        reasons.append(f"its {listed(sorted(strange))} is of no block here")
    other = [
        name for name, value in found.items() if name in target and value.ndim != target[name].ndim
    ]
    if other:
        reasons.append(f"its {listed(other)} has other dimensions")
    if not reasons:
        return
    reasons += _differences(found, target)
    raise BackboneError(
        f"{path} is of another network than the backbone, though names are the same, so that "
        f"nothing of it was taken: {'; '.join(reasons)}; build the backbone that it is of."
    )


def refusal(
    report: "BackboneWeightsReport", found: dict[str, Tensor], target: dict[str, Tensor], path: Path
) -> str:
    """Say why a file is refused."""
    reasons = [f"{len(report.matched)} weights fit"]
    if report.missing:
        reasons.append(
            f"{len(report.missing)} of the backbone are not in it or of another shape "
            f"({listed(report.missing)})"
        )
    if report.unexpected:
        reasons.append(
            f"{len(report.unexpected)} of its own have no place ({listed(report.unexpected)})"
        )
    reasons += _differences(found, target)
    way_out = "build the backbone that it is of"
    if report.matched:
        way_out += ", or take what fits by load_backbone_weights(..., allow_partial=True) in Python"
    return f"{path} fits the backbone in part only: {'; '.join(reasons)}; {way_out}."


def uncounted(names: Iterable[str]) -> tuple[str, ...]:
    """Leave out counts of batches."""
    return tuple(name for name in names if not name.endswith(_COUNTS))


def listed(names: Sequence[str]) -> str:
    """List the first few names."""
    return ", ".join(names[:_MANY]) + (", .." if len(names) > _MANY else "")


def _differences(found: dict[str, Tensor], target: dict[str, Tensor]) -> list[str]:
    """Say in which options of an IResNet the networks of a file and of a backbone differ."""
    theirs, ours = _options(found), _options(target)
    differing = [name for name in theirs if ours and theirs[name] != ours[name]]
    if not differing:
        return []
    told = (", ".join(f"{name} {each[name]}" for name in differing) for each in (theirs, ours))
    return ["its network has {}, the backbone {}".format(*told)]


def _options(weights: dict[str, Tensor]) -> dict[str, object]:
    """Return the options of the IResNet that has such weights; none of another network's."""
    dimensions = {"conv1.weight": 4, "bn2.weight": 1, "fc.weight": 2}
    if any(name not in weights or weights[name].ndim != n for name, n in dimensions.items()):
        return {}
    layers = [
        len({name.split(".")[1] for name in weights if name.startswith(f"layer{stage}.")})
        for stage in range(1, 5)
    ]
    dense, channels = weights["fc.weight"].shape, len(weights["bn2.weight"])
    return {
        "layers": layers,
        "stage1_shortcut": "conv" if "layer1.0.downsample.0.weight" in weights else "pool",
        "final_affine": "frozen_weight or trained" if "features.bias" in weights else "none",
        "norm_between": "layer1.0.bn2.weight" in weights,
        "squeeze_excitation": "layer1.0.se.fc1.weight" in weights,
        "width": len(weights["conv1.weight"]),
        "embedding_dim": dense[0],
        "image_size": 16 * math.isqrt(dense[-1] // max(channels, 1)),
    }
