"""What a generator must offer to be searched and sampled."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from qdgs_lightning.utils.hashing import fingerprint


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

    def settings(self) -> dict[str, object]:
        """Return the arguments that decide images or the prior beside the weights; none by default.

        Returns:
            Plain JSON types. What changes speed alone is not among them.
        """
        return {}

    def fingerprint(self) -> str:
        """Name this generator by all that decides its images, so that an archive knows its maker.

        Returns:
            ``"<class>-<16 hex digits of a hash of weights and settings>"``.
        """
        return f"{type(self).__name__}-{fingerprint(self, self.settings())}"
