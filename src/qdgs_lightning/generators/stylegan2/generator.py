"""StyleGAN2 as a generator that can be searched."""

from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from qdgs_lightning.generators.base import Generator
from qdgs_lightning.generators.stylegan2.io.checkpoint import CheckpointError, read_checkpoint
from qdgs_lightning.generators.stylegan2.network import StyleGAN2, StyleGAN2Error
from qdgs_lightning.utils.precision import Precision, dtype_of
from qdgs_lightning.weights import packaged_weights, resolve_weights

LatentSpace = Literal["w", "w+"]


class StyleGAN2Generator(Generator):
    """Draws images of normalised styles, ``q = (w - w_avg) / std(w)`` per coordinate.

    Styles are searched and not the noise z: there directions have a meaning, and all coordinates
    have the same scale, as in the QDGS publication (Chang et al., AAAI-24). The standard deviation
    is that of 10,000 mapped latents.

    Args:
        checkpoint: A file that `load_stylegan2` reads, or ``avatars_generator``, which is shipped.
        truncation_psi: Shrinks samples of the prior towards the average, from 1 (not at all) to 0.
        latent_space: ``w`` for one style of all layers, shape ``[w_dim]``; ``w+`` for one of each,
            shape ``[num_ws, w_dim]``, as published. Searches reach as many cells in the one as in
            the other (docs/results/stylegan2.md), and archives in W are `num_ws` times smaller.
        image_size: Side of the images; that of the network by default, otherwise resized with
            antialiasing.
        label: Class of the images, for networks with labels.
        precision: Of features from 8 x 8 pixels up; see `StyleGAN2` for what halves cost.
        which: Network of the file, ``G_ema`` (averaged) or ``G``; see `load_stylegan2`.

    Raises:
        StyleGAN2Error: From the constructor: truncation, size or latent space is out of its range.
            From `prepare`: the network has labels and none was given, or the other way round, or
            its images are not RGB.
        PrecisionError: There is no such precision.
        CheckpointError: From `prepare`: the file is missing, corrupt, unsafe or of another kind.

    Example:
        >>> generator = StyleGAN2Generator("stylegan2-ffhq-256x256.safetensors")
        >>> generator.prepare()
        >>> generator(generator.sample_latents(4, torch.Generator().manual_seed(0))).shape
        torch.Size([4, 3, 256, 256])
    """

    w_std: Tensor

    def __init__(
        self,
        checkpoint: Path,
        *,
        truncation_psi: float = 1.0,
        latent_space: LatentSpace = "w",
        image_size: int | None = None,
        label: int | None = None,
        precision: Precision = "float32",
        which: Literal["G_ema", "G"] = "G_ema",
    ) -> None:
        super().__init__()
        if latent_space not in get_args(LatentSpace):
            known = ", ".join(get_args(LatentSpace))
            raise StyleGAN2Error(f"latent_space is {latent_space!r}; give one of {known}.")
        dtype_of(precision)
        if not 0 <= truncation_psi <= 2:
            raise StyleGAN2Error(
                f"truncation_psi is {truncation_psi}; give a number from 0 (the average) to 2."
            )
        if image_size is not None and image_size < 1:
            raise StyleGAN2Error(f"image_size is {image_size}; give a positive number of pixels.")
        name = str(checkpoint)
        self.checkpoint = resolve_weights(name) if name in packaged_weights() else Path(checkpoint)
        self.truncation_psi = truncation_psi
        self.latent_space = latent_space
        self.label = label
        self.precision = precision
        self.which = which
        self.trained_on: str | None = None
        self._asked_size = image_size
        self._network: StyleGAN2 | None = None

    @property
    def network(self) -> StyleGAN2:
        """The network, once `prepare` was called."""
        if self._network is None:
            raise CheckpointError(f"{self.checkpoint} is not loaded yet; call prepare() first.")
        return self._network

    def prepare(self) -> None:
        """Load the checkpoint, once."""
        if self._network is None:
            checkpoint = read_checkpoint(self.checkpoint, which=self.which)
            c_dim = checkpoint.network.mapping.c_dim
            if (self.label is not None and not c_dim) or (
                c_dim and (self.label is None or not 0 <= self.label < c_dim)
            ):
                wanted = f"a class from 0 to {c_dim - 1}" if c_dim else "none: it has no classes"
                raise StyleGAN2Error(f"label is {self.label}; for {self.checkpoint} give {wanted}.")
            if (channels := checkpoint.config["img_channels"]) != 3:
                raise StyleGAN2Error(
                    f"{self.checkpoint} draws images of {channels} channels; bring a network of "
                    "RGB images."
                )
            self._network = network = checkpoint.network
            self.trained_on = checkpoint.trained_on
            # Of pickles it is measured anew, to the last bit or so: it names no other generator.
            self.register_buffer("w_std", checkpoint.w_std, persistent=False)
            styles, size = network.synthesis.num_ws, network.synthesis.img_resolution
            width = network.synthesis.w_dim
            self.latent_shape = (styles, width) if self.latent_space == "w+" else (width,)
            self.image_size = size if self._asked_size is None else self._asked_size
        super().prepare()

    def settings(self) -> dict[str, object]:
        """Return what decides images and prior beside the weights; see `Generator.settings`."""
        size = self.network.synthesis.img_resolution  # raises where nothing is loaded yet
        return {
            "truncation_psi": float(self.truncation_psi),
            "latent_space": self.latent_space,
            "image_size": self._asked_size or size,
            "label": self.label,
            "precision": self.precision,
        }

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Map normal noise; see `Generator.sample_latents`. In W+ all layers get the same style."""
        mapping = self.network.mapping
        z = torch.randn(n, mapping.z_dim, generator=generator).to(self.w_std.device)
        labels = None
        if self.label is not None:
            labels = F.one_hot(torch.tensor([self.label], device=z.device), mapping.c_dim)
            labels = labels.expand(n, -1)
        with torch.no_grad():
            w = mapping(z, labels, self.truncation_psi)[:, 0]
            latents: Tensor = (w - mapping.w_avg) / self.w_std
        if self.latent_space == "w+":
            latents = latents[:, None].repeat(1, mapping.num_ws, 1)
        return latents.cpu()

    def layered(self, latents: Tensor) -> Tensor:
        """Return latents of W+, shape ``[n, num_ws, w_dim]``, in which single layers can be edited.

        Args:
            latents: Shape ``[n, *latent_shape]``, or of W+ already.

        Raises:
            StyleGAN2Error: They have another shape.
        """
        styles, width = self.network.synthesis.num_ws, self.network.synthesis.w_dim
        if latents.shape[1:] == (styles, width):
            return latents
        if latents.shape[1:] != self.latent_shape:
            raise StyleGAN2Error(
                f"Latents have the shape {tuple(latents.shape)}; this generator draws "
                f"[n, {', '.join(map(str, self.latent_shape))}]."
            )
        return latents[:, None].expand(-1, styles, -1)

    def forward(self, latents: Tensor, *, precision: Precision | None = None) -> Tensor:
        """Draw images; see `Generator.forward`. Latents of W+ are drawn in either space.

        Args:
            latents: Shape ``[n, *latent_shape]`` or ``[n, num_ws, w_dim]``.
            precision: Of these images, instead of the generator's own.

        Raises:
            StyleGAN2Error: Latents have another shape.
            PrecisionError: There is no such precision.
        """
        network = self.network
        ws = network.mapping.w_avg + self.w_std * self.layered(latents)
        images: Tensor = network.synthesis(ws, dtype=dtype_of(precision or self.precision))
        images = (images / 2 + 0.5).clamp(0, 1)
        if self.image_size != images.shape[-1]:
            size = (self.image_size, self.image_size)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return images
