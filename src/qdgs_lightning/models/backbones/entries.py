"""Which entry of a checkpoint holds the weights of a backbone."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from qdgs_lightning.errors import did_you_mean
from qdgs_lightning.models.backbones.base import Backbone, BackboneError
from qdgs_lightning.models.backbones.layouts import (
    TIMM,
    Place,
    check_place,
    find_places,
    networks_in,
)

# Lightning keeps averaged weights in the first and the latest ones in the second.
_LIGHTNING = {"state_dict", "current_model_state"}
_MANY = 8


class FoundWeights(NamedTuple):
    """Weights of a file among which a backbone is.

    Attributes:
        tensors: All of the entry, by their names in the file.
        place: Where among them the backbone is.
    """

    tensors: dict[str, Tensor]
    place: Place


def find_weights(
    groups: Mapping[str, dict[str, Tensor]], backbone: Backbone, path: Path, *, entry: str | None
) -> FoundWeights:
    """Find the weights of a backbone in a file.

    Args:
        groups: All named tensors of the file, by entry; see `read_weights`.
        backbone: What they are for.
        path: The file, for messages.
        entry: Which entry to take; None for the only one that holds such a backbone.

    Raises:
        BackboneError: No entry holds such a backbone, or several do, or that one does not.
    """
    if entry is not None and entry not in groups:
        raise BackboneError(
            f"{path} has no weights in an entry {entry!r}{did_you_mean(entry, groups)}; it has "
            f"them in {_listed(groups)}."
        )
    searched = groups if entry is None else {entry: groups[entry]}
    found = {name: _found(tensors, backbone, path) for name, tensors in searched.items()}
    holding = {name: weights for name, weights in found.items() if weights is not None}
    if not holding:
        raise BackboneError(_nothing(searched, backbone, path))
    if len(holding) > 1:
        if holding.keys() != _LIGHTNING:
            raise BackboneError(
                f"{path} holds such a backbone in {len(holding)} entries; say which to take by "
                f"`entry` (in YAML `init_entry`): {_listed(holding)}."
            )
        return holding["state_dict"]
    return next(iter(holding.values()))


def _found(tensors: dict[str, Tensor], backbone: Backbone, path: Path) -> FoundWeights | None:
    """Look for the backbone in an entry, by our names and by those of the network within it."""
    if places := find_places(tensors, backbone):
        return FoundWeights(tensors, check_place(places, path))
    adopt = getattr(backbone, "adopt", lambda _: None)  # any module may be a backbone
    inner = adopt(tensors)
    return None if inner is None else FoundWeights(inner, Place(TIMM, "", "timm"))


def _nothing(groups: Mapping[str, dict[str, Tensor]], backbone: Backbone, path: Path) -> str:
    """Say what a file holds instead of the backbone."""
    names = [name for tensors in groups.values() for name in tensors]
    networks = networks_in(names)
    found = f" but {' and '.join(networks)}" if networks else ""
    where = f" (its weights are in {_listed(groups)})" if set(groups) != {""} else ""
    return (
        f"{path} holds no {type(backbone).__name__}{found}, and its first weight is {names[0]}"
        f"{where}; bring a file of this backbone, or build the one that the file is of."
    )


def _listed(groups: Mapping[str, object]) -> str:
    """List entries, but not hundreds."""
    names = [repr(name) if name else "the file itself" for name in groups]
    return ", ".join(names[:_MANY]) + (", .." if len(names) > _MANY else "")
