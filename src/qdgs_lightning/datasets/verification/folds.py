"""The ten folds in which accuracy is measured: both kinds of pairs in each, whatever the file.

Folds are contiguous in the order of the pairs. Published sets have 300 pairs of one person and 300
of two in each fold and are never reordered. A set that has all pairs of one kind before all of the
other (the lists of CALFW and CPLFW, many self-made ``.bin`` files) would be judged at thresholds
that were chosen on folds of another mixture, which costs points of accuracy: both kinds are dealt
out to the folds in the order in which they stand, as FaceX-Zoo does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NUM_FOLDS = 10


def dealt_out(is_same: Sequence[bool] | Tensor) -> list[int]:
    """Order pairs so that each fold has both kinds, where one kind stands before the other.

    Args:
        is_same: Whether each pair is of one person, shape ``[n]``.

    Returns:
        Places of the pairs in their new order, ``[n]``; the same order for any other set.
    """
    same = torch.as_tensor(is_same, dtype=torch.bool)
    switches = (same[1:] != same[:-1]).nonzero().flatten() + 1
    if len(switches) != 1:
        return list(range(len(same)))
    kinds = torch.arange(len(same)).tensor_split([int(switches[0])])
    parts = [kind.tensor_split(NUM_FOLDS) for kind in kinds]
    return [int(row) for fold in zip(*parts, strict=True) for part in fold for row in part]


def why_no_accuracy(is_same: Tensor) -> str:
    """Say why a set has no accuracy over ten folds; an empty string where it has one.

    Args:
        is_same: Whether each pair is of one person, bool, shape ``[n]``.
    """
    if len(is_same) < NUM_FOLDS:
        return f"{len(is_same)} pairs are too few for {NUM_FOLDS} folds"
    if is_same.all() or not is_same.any():
        return f"all {len(is_same)} pairs are of {'one person' if is_same[0] else 'two people'}"
    return ""


def unmixed_folds(is_same: Tensor) -> int:
    """Count folds of ten pairs or more that hold pairs of one kind only.

    Accuracy over such folds means little: thresholds are chosen on another mixture of pairs.

    Args:
        is_same: Whether each pair is of one person, bool, shape ``[n]``.
    """
    folds = is_same.tensor_split(NUM_FOLDS)
    return sum(len(fold) >= NUM_FOLDS and bool((fold == fold[0]).all()) for fold in folds)
