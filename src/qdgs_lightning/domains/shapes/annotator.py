"""An independent judge of shape images, to check what searches and samplers claim."""

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn

from qdgs_lightning.weights.files import load_weights, save_weights

CHANNELS = (3, 16, 32, 64, 96)
"""Of the image, and after each layer of an annotator, which halves the side."""


def feature_layers() -> list[nn.Module]:
    """Return the layers that small annotators look at images with."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(CHANNELS):
        layers += [
            nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        ]
    return layers


class ShapeAnnotator(nn.Module):
    """Says of an image whether it is a triangle, a square or neither, and red, blue or mixed.

    It learns from unbiased renders and made-up junk and never takes part in a search, so that its
    word on generated images is a check and not an echo. Its own errors are known from held-out
    renders (`qdgs test --config configs/shapes_annotator.yaml --model.init_args.weights
    shapes_annotator`).

    Args:
        weights: A shipped name or a path; ``None`` for random weights.

    Raises:
        WeightsError: There are no such weights, or they are damaged.

    Example:
        >>> shapes, colours = ShapeAnnotator().eval()(images)  # logits [n, 3] each
    """

    def __init__(self, weights: str | None = "shapes_annotator") -> None:
        super().__init__()
        # The shape of an outline is in its corners: the peak says whether there is one of a kind,
        # the mean how much of it.
        self.features = nn.Sequential(*feature_layers())
        self.shape = nn.Linear(2 * CHANNELS[-1], 3)
        self.colour = nn.Linear(2 * CHANNELS[-1], 3)
        if weights is not None:
            load_weights(self, weights)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Judge RGB images in [0, 1], shape ``[n, 3, S, S]``.

        Returns:
            Logits of {triangle, square, neither} and of {red, blue, mixed}, each ``[n, 3]``.
        """
        features = self.features(2 * images - 1)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return self.shape(pooled), self.colour(pooled)

    def save(self, path: Path) -> None:
        """Write the weights to a ``.safetensors`` file."""
        save_weights(self, path)
