"""The residual network of face recognition, in the variants that projects train.

ArcFace (Deng et al., CVPR 2019) changed ResNet so that faces of 112 pixels keep 7 x 7 places until
the dense layer: no pooling after the first convolution, batch normalisation first in each block,
PReLU, and strides in a block's second convolution.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from qdgs_lightning.models.backbones.base import (
    Backbone,
    BackboneError,
    check_dropout,
    check_multiple_of_16,
    in_full_precision,
)

Shortcut = Literal["conv", "pool"]
FinalAffine = Literal["frozen_weight", "trained", "none"]
Initialization = Literal["normal", "kaiming"]

_SE_REDUCTION = 16


class IResNet(Backbone):
    """IResNet of arcface_torch, IR and IR-SE of AdaFace, CVLface and TFace, and of face.evoLVe.

    They agree on all but a few options. Names of weights are those of arcface_torch, so that its
    files and ours are the same; `load_backbone_weights` reads the others. Under autocast the dense
    layer and what follows it run in float32.

    Args:
        layers: Blocks in each of the four stages; 50 layers are 3, 4, 14, 3.
        stage1_shortcut: How the first block of stage 1 passes its input on: ``conv``, by a 1 x 1
            convolution (arcface_torch), or ``pool``, as every second pixel (IR).
        final_affine: ``frozen_weight``, embeddings are shifted by a trained bias, while the scale
            stays 1 (arcface_torch); ``trained``, by both (IR of face.evoLVe); or ``none`` (IR).
        norm_between: Whether blocks normalise between their first convolution and PReLU. All do but
            the IR of face.evoLVe, InsightFace_Pytorch and FaceX-Zoo.
        initialization: Of convolutions: ``normal``, of deviation 0.1 (arcface_torch); or
            ``kaiming``, by outgoing connections, and of the dense layer too (IR).
        squeeze_excitation: Whether blocks weigh their channels (IR-SE).
        dropout: Share of features dropped before the dense layer; IR has 0.4.
        width: Channels of stage 1; doubled in each of the others.
        embedding_dim: Numbers of an embedding.
        image_size: Side of the images, a multiple of 16.

    Raises:
        BackboneError: An option is none of these.

    Example:
        >>> iresnet50 = IResNet(layers=(3, 4, 14, 3))
        >>> iresnet50(torch.rand(2, 3, 112, 112)).shape
        torch.Size([2, 512])
    """

    colour_weight = "conv1.weight"

    def __init__(
        self,
        *,
        layers: Sequence[int],
        stage1_shortcut: Shortcut = "conv",
        final_affine: FinalAffine = "frozen_weight",
        norm_between: bool = True,
        initialization: Initialization = "normal",
        squeeze_excitation: bool = False,
        dropout: float = 0.0,
        width: int = 64,
        embedding_dim: int = 512,
        image_size: int = 112,
    ) -> None:
        check_dropout(dropout)
        check_multiple_of_16(image_size)
        _check_option("stage1_shortcut", stage1_shortcut, get_args(Shortcut))
        _check_option("final_affine", final_affine, get_args(FinalAffine))
        _check_option("initialization", initialization, get_args(Initialization))
        if len(layers) != 4 or min(layers) < 1 or width < 1:
            raise BackboneError(
                f"layers is {list(layers)} and width {width}; give four positive numbers of blocks "
                "and a positive number of channels."
            )
        super().__init__(embedding_dim=embedding_dim, image_size=image_size)
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        options = {"norm_between": norm_between, "se": squeeze_excitation}
        inputs, stages = width, []
        for stage, length in enumerate(layers):
            outputs = width << stage
            project = inputs != outputs or stage1_shortcut == "conv"
            blocks = [_Block(inputs, outputs, stride=2, project=project, **options)]
            for _ in range(length - 1):
                blocks.append(_Block(outputs, outputs, stride=1, project=False, **options))
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn2 = nn.BatchNorm2d(inputs)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs * (image_size // 16) ** 2, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim, affine=final_affine != "none")
        if final_affine == "frozen_weight":
            self.features.weight.requires_grad = False
        self._initialize(initialization)

    def embed(self, x: Tensor) -> Tensor:
        """Embed images in [-1, 1]."""
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.dropout(torch.flatten(self.bn2(x), 1))
        return in_full_precision(x, self.fc, self.features)

    @staticmethod
    def structure(names: Iterable[str]) -> frozenset[str]:
        """Name the parts of blocks; their number and the other options may differ."""
        parts = (re.match(r"layer\d+\.\d+\.(\w+)\.", name) for name in names)
        return frozenset(part[1] for part in parts if part and part[1] != "downsample")

    def _initialize(self, initialization: Initialization) -> None:
        """Draw weights; those of batch normalisation are right already."""
        for module in self.modules():
            if not isinstance(module, nn.Conv2d | nn.Linear):
                continue
            if initialization == "kaiming":
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.1)


class _Block(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut, and no activation after their sum."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, project: bool, norm_between: bool, se: bool
    ) -> None:
        super().__init__()
        self.stride = stride
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs) if norm_between else nn.Identity()
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.se = _SqueezeExcitation(outputs) if se else None
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv1(self.bn1(x))
        residual = self.bn3(self.conv2(self.prelu(self.bn2(residual))))
        if self.se is not None:
            residual = self.se(residual)
        # Every second pixel is what max pooling over one pixel returns.
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.downsample is not None:
            shortcut = self.downsample(x)
        return residual + shortcut


class _SqueezeExcitation(nn.Module):
    """Scales channels by what is in them on average (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = math.ceil(channels / _SE_REDUCTION)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fc2(torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(weights)


def _check_option(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse an option that does not exist."""
    if value not in known:
        *others, last = known
        raise BackboneError(f"{name} is {value!r}; give {', '.join(others)} or {last}.")
