"""Files of timm's own: the weights of a whole network with its classifier."""

import re
import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def timm_weights(body: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Bring weights of a timm network to the names and shapes of one without a classifier.

    Args:
        body: The network, of timm, without a classifier.
        tensors: Weights by timm's names, or by those that timm's own conversion of the network
            knows, perhaps behind DistributedDataParallel or `torch.compile`.

    Returns:
        Weights of `body`, embeddings of positions resampled to its size; None where the names are
        not those of this network.
    """
    bare = {re.sub(r"^((module|_orig_mod)\.)+", "", name): v for name, v in tensors.items()}
    wanted = _counted_out(body.state_dict())
    # Of the module of the network; timm calls it on whatever it loads.
    convert: Any = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        try:
            bare = convert(bare, body)
        except Exception:  # it expects a file of this network, and fails in any way on another
            return None
    classifiers = getattr(body, "pretrained_cfg", {}).get("classifier") or ()
    if isinstance(classifiers, str):
        classifiers = (classifiers,)
    beginnings = tuple(f"{name}." for name in classifiers)
    weights = {name: value for name, value in bare.items() if not name.startswith(beginnings)}
    return weights if _counted_out(weights) == wanted else None


def _counted_out(names: Mapping[str, Tensor]) -> set[str]:
    """Return names without those of counts of batches, which old files lack."""
    return {name for name in names if not name.endswith("num_batches_tracked")}
