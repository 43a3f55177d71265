"""The layers of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958), under their official names."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NoiseMode = Literal["const", "random", "none"]

_SLOPE = 0.2
_EPS = 1e-8


class Dense(nn.Module):
    """``y = x (g W)^T + lr b`` with ``g = lr / sqrt(in_features)``: an equalised learning rate.

    Args:
        in_features: Width of the input.
        out_features: Width of the output.
        activate: Follow with a leaky ReLU of slope 0.2 and gain sqrt(2).
        lr_multiplier: lr; the stored weights are larger by its inverse.
        bias: Initial value of the bias, as it acts.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activate: bool = False,
        lr_multiplier: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias / lr_multiplier))
        self.activate = activate
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, in_features]`` to ``[n, out_features]``."""
        gain = self.lr_multiplier / math.sqrt(self.weight.shape[1])
        y = F.linear(x, self.weight * gain, self.bias * self.lr_multiplier)
        return F.leaky_relu(y, _SLOPE) * math.sqrt(2) if self.activate else y


def normalised(x: Tensor) -> Tensor:
    """Scale rows ``[n, d]`` to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + _EPS).rsqrt()


def resample_filter() -> Tensor:
    """Return the low-pass filter of all FFHQ networks, shape ``[4, 4]``, sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(taps, taps)


def upsample(images: Tensor, fir: Tensor) -> Tensor:
    """Double the size of ``[n, c, h, w]``: zeros between pixels and beyond the edge, filtered."""
    channels = images.shape[1]
    kernel = (4 * fir).to(images.dtype).expand(channels, 1, -1, -1)
    return F.conv_transpose2d(images, kernel, stride=2, padding=1, groups=channels)


class ModulatedConv(nn.Module):
    """A 3x3 convolution whose inputs a style scales, and whose outputs have unit scale again.

    With style s = affine(w): ``y = d * conv(s * x, W)``, where ``d`` undoes the mean effect of s
    and W. Then come noise, bias, leaky ReLU of gain sqrt(2), and the clamp. Images in a batch share
    their convolution; that costs less than one convolution per image, above all backward.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        w_dim: Width of w.
        resolution: Side of the output.
        up: Double the size first.
        conv_clamp: Largest magnitude of outputs; None for any.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        up: bool = False,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up = up
        self.conv_clamp = conv_clamp
        self.affine = Dense(w_dim, in_channels, bias=1.0)
        # In memory the channels that are summed over lie together, as the kernels want them: a copy
        # of the weights takes as long as a convolution of 16 x 16 pixels.
        shape = (in_channels, out_channels) if up else (out_channels, in_channels)
        weight = torch.randn(*shape, 3, 3).contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight.transpose(0, 1) if up else weight)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", resample_filter())

    def forward(
        self,
        x: Tensor,
        w: Tensor,
        *,
        noise_mode: NoiseMode,
        generator: torch.Generator | None = None,
        gain: float = 1.0,
    ) -> Tensor:
        """Map ``[n, in_channels, h, w]`` and w ``[n, w_dim]`` to ``[n, out_channels, H, W]``.

        Args:
            x: Features; their type is that of the convolution.
            w: Styles, float32.
            noise_mode: See `Synthesis.forward`.
            generator: Source of random noise.
            gain: Scales the activation and the clamp.
        """
        style: Tensor = self.affine(w)
        weight, style = self._scaled(style, x.dtype)
        # Summed in the order of memory, which is four times as fast.
        energy = (weight.transpose(0, 1) if self.up else weight).square().sum(dim=(2, 3))
        demodulation = (style.square() @ (energy if self.up else energy.T) + _EPS).rsqrt()
        x = x * style.to(x.dtype)[:, :, None, None]
        y = self._convolve(x, weight.to(x.dtype))
        # The gain of the activation goes before it, where it joins what is multiplied anyway.
        gain = gain * math.sqrt(2)
        offset = self.bias[:, None, None] * gain
        y = torch.addcmul(
            offset.to(y.dtype), y, (demodulation * gain).to(y.dtype)[:, :, None, None]
        )
        noise = self._noise(y, noise_mode, generator)
        if noise is not None:
            y = y + noise * gain
        y = F.leaky_relu(y, _SLOPE)
        if self.conv_clamp is not None:
            limit = self.conv_clamp * gain / math.sqrt(2)
            y = y.clamp(-limit, limit)
        return y

    def _scaled(self, style: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return weight and style, for half precision scaled so that no sum overflows.

        Demodulation takes the scale out again.
        """
        if dtype == torch.float32:
            return self.weight, style
        fan_in = self.weight[0].numel()
        largest = self.weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=_EPS)
        weight = self.weight / (largest * math.sqrt(fan_in))
        return weight, style / style.abs().amax(dim=1, keepdim=True).clamp(min=_EPS)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve, and double the size if this layer does."""
        if not self.up:
            return F.conv2d(x, weight, padding=1)
        y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        channels = y.shape[1]
        kernel = (4 * self.resample_filter.flip(0, 1)).to(y.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(y, kernel, padding=1, groups=channels)

    def _noise(
        self, y: Tensor, noise_mode: NoiseMode, generator: torch.Generator | None
    ) -> Tensor | None:
        """Return noise that fits y, or nothing."""
        if noise_mode == "none":
            return None
        if noise_mode == "const":
            return (self.noise_const * self.noise_strength).to(y.dtype)
        drawn = torch.randn(len(y), 1, *y.shape[2:], generator=generator)
        return (drawn.to(y.device) * self.noise_strength).to(y.dtype)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to image channels: no demodulation, noise or activation.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the image.
        w_dim: Width of w.
        conv_clamp: Largest magnitude of outputs; None for any.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, w_dim: int, conv_clamp: float | None
    ) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = Dense(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map features ``[n, in_channels, h, w]`` and w ``[n, w_dim]`` to a float32 image."""
        style: Tensor = self.affine(w) / math.sqrt(self.weight.shape[1])
        # One small matrix per image instead of a pass that scales all its features.
        mixing = (self.weight[:, :, 0, 0] * style[:, None]).to(x.dtype)
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2) @ mixing.transpose(1, 2)
        image: Tensor = pixels.transpose(1, 2).reshape(len(x), -1, *x.shape[2:]).float()
        image = image + self.bias[:, None, None]
        return image if self.conv_clamp is None else image.clamp(-self.conv_clamp, self.conv_clamp)


class Skip(nn.Module):
    """The shortcut of the ``resnet`` architecture: a 1x1 convolution, then twice the size."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Tensor, *, gain: float) -> Tensor:
        """Map ``[n, in_channels, h, w]`` to ``[n, out_channels, 2 h, 2 w]``, times a gain."""
        weight = (self.weight * (gain / math.sqrt(self.weight.shape[1]))).to(x.dtype)
        return upsample(F.conv2d(x, weight), self.resample_filter)
