"""What all backbones for faces have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from qdgs_lightning.errors import QDGSError


class BackboneError(QDGSError):
    """A backbone that cannot be built or fed so, or weights that do not fit it."""


class Backbone(nn.Module, ABC):
    """Turns aligned faces into embeddings, which are not normalised.

    Args:
        embedding_dim: Numbers of an embedding.
        image_size: Side of the images.

    Attributes:
        colour_weight: Name of the weight whose second dimension is the colours, None where nobody
            has files of the network that were trained on BGR.

    Raises:
        BackboneError: A number is not positive.
    """

    colour_weight: ClassVar[str | None] = None

    def __init__(self, *, embedding_dim: int, image_size: int) -> None:
        super().__init__()
        if embedding_dim < 1 or image_size < 1:
            raise BackboneError(
                f"embedding_dim is {embedding_dim} and image_size {image_size}; both should be "
                "positive."
            )
        self.embedding_dim = embedding_dim
        self.image_size = image_size

    def forward(self, images: Tensor) -> Tensor:
        """Embed RGB images in [0, 1], float, shape ``[n, 3, image_size, image_size]``.

        Returns:
            Embeddings, shape ``[n, embedding_dim]``; float32 under autocast too.

        Raises:
            BackboneError: The images are of another shape, or integers.
        """
        if images.shape[1:] != (3, self.image_size, self.image_size):
            raise BackboneError(
                f"The backbone was given images of shape {list(images.shape)} and takes "
                f"[n, 3, {self.image_size}, {self.image_size}]; resize them, or build it with "
                "another image_size."
            )
        if not images.is_floating_point():
            raise BackboneError(
                f"The backbone was given images of {images.dtype} and takes floating-point numbers "
                "in [0, 1]; divide by 255."
            )
        return self.embed(self.normalize(images))

    def normalize(self, images: Tensor) -> Tensor:
        """Bring images to the range that the network was made for, by default [-1, 1]."""
        return (images - 0.5) / 0.5

    def adopt(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Turn a file of the network within the backbone, from where that is published, into ours.

        Args:
            tensors: All weights of the file.

        Returns:
            Weights by our names; None where the file is of no such network, as by default.
        """
        return None

    @staticmethod
    def structure(names: Iterable[str]) -> frozenset[str]:
        """Name what networks must have in common for weights of equal names to mean the same.

        Args:
            names: Of weights, by our names and without counts of batches.

        Returns:
            By default all names but those of the last layers, ``fc`` and ``features``.
        """
        return frozenset(name for name in names if not name.startswith(("fc.", "features.")))

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Embed images that `normalize` returned."""


def in_full_precision(x: Tensor, *modules: nn.Module) -> Tensor:
    """Run the last layers in the precision of their weights, whatever autocast says.

    The dense layer sums 25,088 products, and margins act on small differences of angles: as in
    arcface_torch, neither is left to half precision. It costs one layer of many.
    """
    x = x.to(next(modules[0].parameters()).dtype)
    if not torch.is_autocast_enabled(x.device.type):
        return _through(x, modules)
    with torch.autocast(x.device.type, enabled=False):
        return _through(x, modules)


def _through(x: Tensor, modules: tuple[nn.Module, ...]) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def check_dropout(dropout: float) -> None:
    """Refuse what is no share.

    Raises:
        BackboneError: It is not in [0, 1).
    """
    if not 0 <= dropout < 1:
        raise BackboneError(f"dropout is {dropout:g}; give a share from 0 to below 1.")


def check_multiple_of_16(image_size: int) -> None:
    """Refuse images that cannot be halved four times.

    Raises:
        BackboneError: The side is not a positive multiple of 16.
    """
    if image_size < 16 or image_size % 16:
        raise BackboneError(
            f"image_size is {image_size}; the network halves images four times, so give a multiple "
            "of 16."
        )
