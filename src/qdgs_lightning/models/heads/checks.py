"""What can be wrong with a head or its input, and how it is noticed."""

import torch
from torch import Tensor

from qdgs_lightning.errors import QDGSError


class HeadError(QDGSError):
    """Settings, labels, embeddings or a checkpoint that a head cannot work with."""


def check_number(owner: str, name: str, value: float, *, low: float, high: float) -> None:
    """Refuse a setting outside ``[low, high]``, and NaN.

    Raises:
        HeadError: It is outside.
    """
    if not low <= value <= high:
        raise HeadError(f"{owner} has {name}={value:g}; give a number from {low:g} to {high:.4g}.")


def check_choice(owner: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is none of those.

    Raises:
        HeadError: It is none of them.
    """
    if value not in choices:
        raise HeadError(f"{owner} has {name}={value!r}; give one of {', '.join(choices)}.")


def check_batch(owner: str, embeddings: Tensor, labels: Tensor | None, embedding_dim: int) -> None:
    """Refuse shapes and types that do not fit.

    Raises:
        HeadError: They do not fit.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != embedding_dim:
        raise HeadError(
            f"{owner} got embeddings of shape {list(embeddings.shape)}; it takes "
            f"[n, {embedding_dim}], so set embedding_dim to what the backbone gives."
        )
    if labels is None:
        return
    if labels.shape != embeddings.shape[:1] or labels.dtype != torch.int64:
        raise HeadError(
            f"{owner} got labels of shape {list(labels.shape)} and type {labels.dtype}; it takes "
            f"[{len(embeddings)}] of torch.int64, one for each embedding."
        )


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Refuse labels outside [0, C), without making a GPU wait.

    Raises:
        HeadError: One is outside, and the labels are not on a CUDA device.
    """
    wrong = (labels < 0) | (labels >= num_classes)
    if labels.device.type == "cuda":
        torch._assert_async(~wrong.any(), f"a label is outside [0, {num_classes})")
    elif wrong.any():
        raise HeadError(
            f"Label {int(labels[wrong][0])} is outside the {num_classes} classes of the head; set "
            "num_classes to the number of identities or more."
        )
