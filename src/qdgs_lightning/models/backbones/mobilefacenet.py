"""A small network for phones, in arcface_torch's variant."""

from torch import Tensor, nn

from qdgs_lightning.models.backbones.base import (
    Backbone,
    check_dropout,
    check_multiple_of_16,
    in_full_precision,
)

_WIDTH = 128
_LAST_WIDTH = 512


class MobileFaceNet(Backbone):
    """MobileFaceNet (Chen et al., CCBR 2018) of arcface_torch, called mbf there.

    It is twice as wide as the paper's and its embeddings have 512 numbers. Depthwise convolutions
    between pointwise ones, and in the end one weight for each channel and place in the place of an
    average. Under autocast what comes after the last block runs in float32, as it does there.

    Args:
        dropout: Share of features dropped before the dense layer.
        embedding_dim: Numbers of an embedding.
        image_size: Side of the images, a multiple of 16.

    Raises:
        BackboneError: A number is out of range.

    Example:
        >>> MobileFaceNet()(torch.rand(2, 3, 112, 112)).shape
        torch.Size([2, 512])
    """

    colour_weight = "stem.0.0.weight"

    def __init__(
        self, *, dropout: float = 0.0, embedding_dim: int = 512, image_size: int = 112
    ) -> None:
        check_dropout(dropout)
        check_multiple_of_16(image_size)
        super().__init__(embedding_dim=embedding_dim, image_size=image_size)
        self.stem = nn.Sequential(
            _unit(3, _WIDTH, 3, stride=2),
            _unit(_WIDTH, _WIDTH, 3, groups=64),  # two channels a group, which is no slip of ours
        )
        wide = 2 * _WIDTH
        self.body = nn.Sequential(
            _Bottleneck(_WIDTH, _WIDTH, hidden=128, stride=2),
            *(_Bottleneck(_WIDTH, _WIDTH, hidden=128) for _ in range(4)),
            _Bottleneck(_WIDTH, wide, hidden=256, stride=2),
            *(_Bottleneck(wide, wide, hidden=256) for _ in range(6)),
            _Bottleneck(wide, wide, hidden=512, stride=2),
            *(_Bottleneck(wide, wide, hidden=256) for _ in range(2)),
        )
        self.expand = _unit(wide, _LAST_WIDTH, 1)
        self.pool = nn.Sequential(
            nn.Conv2d(_LAST_WIDTH, _LAST_WIDTH, image_size // 16, groups=_LAST_WIDTH, bias=False),
            nn.BatchNorm2d(_LAST_WIDTH),
        )
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(_LAST_WIDTH, embedding_dim, bias=False)
        self.features = nn.BatchNorm1d(embedding_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, x: Tensor) -> Tensor:
        """Embed images in [-1, 1]."""
        x = self.body(self.stem(x))
        return in_full_precision(
            x, self.expand, self.pool, self.flatten, self.dropout, self.fc, self.features
        )


def _unit(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Module:
    """Make a convolution with normalisation and activation."""
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs),
    )


class _Bottleneck(nn.Sequential):
    """To another number of channels, a look around in each of them, and back."""

    def __init__(self, inputs: int, outputs: int, *, hidden: int, stride: int = 1) -> None:
        super().__init__(
            _unit(inputs, hidden, 1),
            _unit(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for unit in self:
            y = unit(y)
        return x + y if self.residual else y
