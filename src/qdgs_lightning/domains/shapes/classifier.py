"""The small network that learns to tell triangles from squares."""

import torch
from torch import Tensor, nn

from qdgs_lightning.errors import QDGSError


class ShapeClassifier(nn.Module):
    """Three 3x3 convolutions of 16, 32 and 64 features and two dense layers.

    The input is averaged over 2x2 pixels and every convolution strides by two: an image costs half
    a millisecond of one laptop core, forward and backward.

    Args:
        num_classes: Number of logits.
        image_size: Side of the input, a multiple of 16.
        hidden: Width of the first dense layer.

    Raises:
        QDGSError: `image_size` is not a positive multiple of 16.
    """

    def __init__(self, *, num_classes: int = 2, image_size: int = 128, hidden: int = 64) -> None:
        super().__init__()
        if image_size < 16 or image_size % 16:
            raise QDGSError(
                f"ShapeClassifier halves its input four times: image_size={image_size} should be a "
                "positive multiple of 16."
            )
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(64 * (image_size // 16) ** 2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: RGB in [0, 1], shape ``[n, 3, image_size, image_size]``.

        Returns:
            Logits, shape ``[n, num_classes]``.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.layers(images * 2 - 1)
        return logits
