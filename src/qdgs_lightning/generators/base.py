"""What a generator must offer to be searched and sampled."""

import hashlib
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Generator(nn.Module, ABC):
    """A map from latents to images, and the prior that the latents come from.

    A new generator is one subclass and one line of YAML (``class_path``). Its ``__init__`` only
    notes its arguments and builds small networks; whatever is heavy is loaded by `prepare`.

    Attributes:
        latent_shape: Shape of one latent, without the batch dimension.
        image_size: Side of the square images, in pixels.

    Example:
        >>> generator = ImplicitGenerator()  # the shapes generator that the package ships
        >>> generator.prepare()
        >>> latents = generator.sample_latents(4, torch.Generator().manual_seed(0))
        >>> generator(latents).shape
        torch.Size([4, 3, 128, 128])
    """

    latent_shape: tuple[int, ...]
    image_size: int

    def prepare(self) -> None:
        """Load weights, once, before first use; further calls do nothing.

        Afterwards the generator is in evaluation mode and needs no gradient for its weights.

        Raises:
            FileNotFoundError: The weights are not where they were said to be.
        """
        self.eval().requires_grad_(False)

    @abstractmethod
    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw from the prior.

        Args:
            n: How many latents.
            generator: Source of the randomness, on the CPU, so that every device gets the same.

        Returns:
            Latents of shape ``[n, *latent_shape]``, float32, on the CPU.
        """

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """Draw images; row i depends on latent i alone.

        Args:
            latents: Shape ``[n, *latent_shape]``, on the device of the weights.

        Returns:
            RGB images in [0, 1], shape ``[n, 3, image_size, image_size]``.
        """

    @property
    def latent_size(self) -> int:
        """Number of coordinates of one latent."""
        return int(torch.Size(self.latent_shape).numel())

    def fingerprint(self) -> str:
        """Name this generator by its class and weights, so that an archive knows its maker.

        Returns:
            ``"<class>-<first 16 hex digits of the SHA-256 of all weights>"``.
        """
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return f"{type(self).__name__}-{digest.hexdigest()[:16]}"
