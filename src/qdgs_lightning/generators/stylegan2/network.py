"""The StyleGAN2 generator network, in plain PyTorch."""

import math
from collections.abc import Mapping as Options
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators.stylegan2.layers import (
    Dense,
    ModulatedConv,
    NoiseMode,
    Skip,
    ToRGB,
    normalised,
    resample_filter,
    upsample,
)

Architecture = Literal["skip", "orig", "resnet"]


class StyleGAN2Error(QDGSError):
    """Sizes or inputs that a StyleGAN2 cannot work with."""


class Mapping(nn.Module):
    """Latents z, and labels where there are any, to styles w.

    Args:
        z_dim: Width of z; 0 where labels alone decide.
        c_dim: Number of labels; 0 for none.
        w_dim: Width of w.
        num_ws: How often w is repeated.
        num_layers: Dense layers.
        embed_features: Width of embedded labels; `w_dim` by default.
        layer_features: Width of hidden layers; `w_dim` by default.
        lr_multiplier: Of the dense layers.
    """

    w_avg: Tensor

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int,
        num_layers: int = 8,
        embed_features: int | None = None,
        layer_features: int | None = None,
        lr_multiplier: float = 0.01,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        embedded = (w_dim if embed_features is None else embed_features) if c_dim else 0
        hidden = w_dim if layer_features is None else layer_features
        if c_dim:
            self.embed = Dense(c_dim, embedded)
        widths = [z_dim + embedded, *[hidden] * (num_layers - 1), w_dim]
        self.num_layers = num_layers
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            layer = Dense(inputs, outputs, activate=True, lr_multiplier=lr_multiplier)
            self.add_module(f"fc{index}", layer)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map latents to one style per layer.

        Args:
            z: Normal noise, shape ``[n, z_dim]``.
            c: Labels, usually one-hot, shape ``[n, c_dim]``; not looked at where c_dim is 0.
            truncation_psi: 1 leaves w as it is, 0 makes it the average; within [0, 2].
            truncation_cutoff: How many of the first styles are truncated; all by default.

        Returns:
            ws, shape ``[n, num_ws, w_dim]``, float32.

        Raises:
            StyleGAN2Error: Shapes do not fit, labels are missing, or psi is out of its range.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise StyleGAN2Error(
                f"z has shape {tuple(z.shape)}; this network maps [n, {self.z_dim}]."
            )
        if not 0 <= truncation_psi <= 2:
            raise StyleGAN2Error(
                f"truncation_psi is {truncation_psi}; give a number from 0 (the average) to 2."
            )
        x = normalised(z.float()) if self.z_dim else z.float()
        if self.c_dim:
            if c is None or c.shape != (len(z), self.c_dim):
                given = "none were given" if c is None else f"they have shape {tuple(c.shape)}"
                raise StyleGAN2Error(
                    f"This network needs labels of shape [{len(z)}, {self.c_dim}], but {given}."
                )
            x = torch.cat([x, normalised(self.embed(c.float()))], dim=1)
        for index in range(self.num_layers):
            x = self.get_submodule(f"fc{index}")(x)
        ws = x[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi == 1:
            return ws
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        near = torch.lerp(self.w_avg, ws[:, :cutoff], truncation_psi)
        return torch.cat([near, ws[:, cutoff:]], dim=1)


class SynthesisBlock(nn.Module):
    """The layers of one resolution.

    Args:
        in_channels: Channels of the resolution below; 0 in the first block.
        out_channels: Channels of this one.
        w_dim: Width of w.
        resolution: Side of what this block makes.
        img_channels: Channels of the image.
        is_last: Whether this is the highest resolution.
        architecture: How resolutions join.
        conv_clamp: Largest magnitude of outputs; None for any.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        img_channels: int,
        is_last: bool,
        architecture: Architecture,
        conv_clamp: float | None,
    ) -> None:
        super().__init__()
        self.is_first = in_channels == 0
        self.is_resnet = architecture == "resnet" and not self.is_first
        self.register_buffer("resample_filter", resample_filter())
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = ModulatedConv(
                in_channels,
                out_channels,
                w_dim=w_dim,
                resolution=resolution,
                up=True,
                conv_clamp=conv_clamp,
            )
        self.conv1 = ModulatedConv(
            out_channels, out_channels, w_dim=w_dim, resolution=resolution, conv_clamp=conv_clamp
        )
        self.has_rgb = is_last or architecture == "skip"
        if self.has_rgb:
            self.torgb = ToRGB(out_channels, img_channels, w_dim=w_dim, conv_clamp=conv_clamp)
        if self.is_resnet:
            self.skip = Skip(in_channels, out_channels)

    def forward(
        self,
        x: Tensor,
        image: Tensor | None,
        ws: Tensor,
        *,
        noise_mode: NoiseMode,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return features and the image so far; ``ws`` are the styles of this block's layers."""
        styles = iter(ws.unbind(dim=1))
        shortcut = self.skip(x, gain=math.sqrt(0.5)) if self.is_resnet else None
        if not self.is_first:
            x = self.conv0(x, next(styles), noise_mode=noise_mode, generator=generator)
        gain = 1.0 if shortcut is None else math.sqrt(0.5)
        x = self.conv1(x, next(styles), noise_mode=noise_mode, generator=generator, gain=gain)
        if shortcut is not None:
            x = x + shortcut
        if image is not None:
            image = upsample(image, self.resample_filter)
        if self.has_rgb:
            rgb = self.torgb(x, next(styles))
            image = rgb if image is None else image + rgb
        return x, image


class Synthesis(nn.Module):
    """Styles to images.

    Args:
        w_dim: Width of w.
        img_resolution: Side of the images, a power of two from 8.
        img_channels: Channels of the images.
        channel_base: A resolution has ``channel_base / resolution`` channels,
        channel_max: but no more than these.
        channels: Channels of each resolution from 4, instead of the two.
        conv_clamp: Largest magnitude of outputs; None for any.
        architecture: How resolutions join: ``skip`` sums images, ``resnet`` features, ``orig``
            draws the last features.
    """

    def __init__(
        self,
        *,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        channels: tuple[int, ...] | None = None,
        conv_clamp: float | None = None,
        architecture: Architecture = "skip",
    ) -> None:
        super().__init__()
        if img_resolution < 8 or img_resolution & (img_resolution - 1):
            raise StyleGAN2Error(
                f"img_resolution is {img_resolution}; give a power of two of at least 8."
            )
        if architecture not in get_args(Architecture):
            names = ", ".join(get_args(Architecture))
            raise StyleGAN2Error(f"architecture is {architecture!r}; give one of {names}.")
        self.w_dim, self.img_resolution = w_dim, img_resolution
        self.architecture = architecture
        self.resolutions = [2**power for power in range(2, img_resolution.bit_length())]
        widths = channels or tuple(min(channel_base // r, channel_max) for r in self.resolutions)
        if len(widths) != len(self.resolutions) or min(widths) < 1:
            raise StyleGAN2Error(
                f"Channels of {widths} do not fit resolutions {self.resolutions}; give one "
                "positive number for each."
            )
        self.num_ws = 2 * len(self.resolutions)
        for inputs, outputs, resolution in zip(
            (0, *widths), widths, self.resolutions, strict=False
        ):
            block = SynthesisBlock(
                inputs,
                outputs,
                w_dim=w_dim,
                resolution=resolution,
                img_channels=img_channels,
                is_last=resolution == img_resolution,
                architecture=architecture,
                conv_clamp=conv_clamp,
            )
            self.add_module(f"b{resolution}", block)

    def forward(
        self,
        ws: Tensor,
        noise_mode: NoiseMode = "const",
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        resolution: int | None = None,
    ) -> Tensor:
        """Draw images.

        Args:
            ws: One style per layer, shape ``[n, num_ws, w_dim]``.
            noise_mode: ``const`` adds the noise that is stored with the weights, the same to all
                images; ``random`` draws anew, one value per pixel, image and layer; ``none`` adds
                nothing.
            generator: Source of random noise, on the CPU.
            dtype: Of features from 8 x 8 pixels up, ``torch.float16`` and ``torch.bfloat16`` among
                them. Styles, demodulation and the image stay float32.
            resolution: Stop at the image of this resolution, which every one has in the ``skip``
                architecture alone; training may begin with small images. The highest by default.

        Returns:
            Images, nominally in [-1, 1] and not clamped, float32, shape
            ``[n, img_channels, resolution, resolution]``.

        Raises:
            StyleGAN2Error: ws has another shape, or there is no such noise mode or resolution.
        """
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise StyleGAN2Error(
                f"ws has shape {tuple(ws.shape)}; this network draws [n, {self.num_ws}, "
                f"{self.w_dim}]."
            )
        if noise_mode not in get_args(NoiseMode):
            raise StyleGAN2Error(
                f"noise_mode is {noise_mode!r}; give one of {', '.join(get_args(NoiseMode))}."
            )
        ws = ws.float()
        first = self.get_submodule("b4")
        x = first.get_parameter("const").expand(len(ws), -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for index, side in enumerate(self.resolutions):
            # An image layer shares its style with the first layer of the next block.
            begin = max(0, 2 * index - 1)
            styles = ws[:, begin : 2 * index + 2]
            if index == 1:
                x = x.to(dtype)
            x, image = self.get_submodule(f"b{side}")(
                x, image, styles, noise_mode=noise_mode, generator=generator
            )
            if image is not None and side == (resolution or self.img_resolution):
                return image
        raise StyleGAN2Error(
            f"resolution is {resolution}; this network has images of "
            f"{self.resolutions if self.architecture == 'skip' else self.img_resolution}."
        )


class StyleGAN2(nn.Module):
    """The generator network of Karras et al. 2020 (arXiv 1912.04958).

    Weights have the names of NVIDIA's PyTorch versions. Half precision (see `Synthesis.forward`)
    differs from float32, on networks of random weights whose images have a standard deviation of
    0.4 to 2, by 0.0005 to 0.002 on average and 0.004 to 0.02 at most in float16, and by 0.005 to
    0.013 and 0.04 to 0.14 in bfloat16.

    Args:
        z_dim: Width of the latents.
        c_dim: Number of labels; 0 for none.
        w_dim: Width of the styles.
        img_resolution: Side of the images, a power of two from 8.
        img_channels: Channels of the images.
        mapping_kwargs: Further arguments of `Mapping`.
        synthesis_kwargs: Further arguments of `Synthesis`.

    Raises:
        StyleGAN2Error: A size is out of its range.

    Example:
        >>> network = StyleGAN2(z_dim=512, c_dim=0, w_dim=512, img_resolution=256, img_channels=3)
        >>> ws = network.mapping(torch.randn(4, 512), truncation_psi=0.7)
        >>> network.synthesis(ws).shape
        torch.Size([4, 3, 256, 256])
    """

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        mapping_kwargs: Options[str, Any] | None = None,
        synthesis_kwargs: Options[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.synthesis = Synthesis(
            w_dim=w_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
            **(synthesis_kwargs or {}),
        )
        self.mapping = Mapping(
            z_dim=z_dim,
            c_dim=c_dim,
            w_dim=w_dim,
            num_ws=self.synthesis.num_ws,
            **(mapping_kwargs or {}),
        )
