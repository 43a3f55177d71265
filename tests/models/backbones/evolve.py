"""The IR network of face.evoLVe, after the structure of its published ``model_irse.py``.

Written for comparison from the order of its layers, so that its weights have its names.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, se: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            *([_Gate(outputs)] if se else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return result


class _Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(pooled))))


class EvolveIR(nn.Module):
    """Images in [-1, 1] to embeddings."""

    def __init__(
        self, layers: Sequence[int], *, width: int, dim: int, size: int, squeeze_excitation: bool
    ) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )
        blocks, inputs = [], width
        for stage, length in enumerate(layers):
            for number in range(length):
                outputs, stride = width * 2**stage, 1 if number else 2
                blocks.append(_Block(inputs, outputs, stride, squeeze_excitation))
                inputs = outputs
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(inputs * (size // 16) ** 2, dim),
            nn.BatchNorm1d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Embed images."""
        embeddings: Tensor = self.output_layer(self.body(self.input_layer(x)))
        return embeddings
