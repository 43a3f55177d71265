"""Several images of one face: small changes of a latent that should leave its identity alone."""

import math
import pickle
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from qdgs_lightning.generators.stylegan2.generator import StyleGAN2Generator
from qdgs_lightning.generators.stylegan2.io.checkpoint import CheckpointError
from qdgs_lightning.generators.stylegan2.layers import ModulatedConv, ToRGB
from qdgs_lightning.generators.stylegan2.network import StyleGAN2Error
from qdgs_lightning.weights import packaged_weights, resolve_weights

# Which of the styles: coarse, middle and fine layers.
_KINDS = (slice(0, 3), slice(3, 7), slice(7, None))


class IdentityEdits(ABC):
    """Changes that are added to the latents of a `StyleGAN2Generator`, one per image of a face.

    Example:
        >>> edits = PrincipalEdits(number=9).rows(generator)
        >>> latents = generator.layered(generator.sample_latents(4, torch.Generator()))
        >>> generator((latents[:, None] + edits).flatten(0, 1)).shape  # nine images of each face
        torch.Size([36, 3, 256, 256])
    """

    @abstractmethod
    def rows(self, generator: StyleGAN2Generator) -> Tensor:
        """Return the changes.

        Args:
            generator: Whose latents they are for, prepared.

        Returns:
            Normalised styles of all layers, float32, shape ``[a, num_ws, w_dim]``. They fit what
            `StyleGAN2Generator.layered` returns, in either latent space.
        """


class FileEdits(IdentityEdits):
    """Changes from a file, such as the latent augmentations of the QDGS publication.

    The file holds one array: ``[a, num_ws * w_dim]`` as published (9 x 7,168, the unchanged face
    among them), ``[a, num_ws, w_dim]``, or ``[a, w_dim]`` for the same change of all layers.

    Args:
        path: A tensor saved by PyTorch (``.pt``, ``.pth``) or NumPy (``.npy``), or the only one of
            a ``.safetensors`` file; or ``avatars_edits``, which is shipped. Nothing in it is
            executed.

    Raises:
        CheckpointError: From `rows`: the file is missing, of another kind, or does not fit.
    """

    def __init__(self, path: Path) -> None:
        name = str(path)
        self.path = resolve_weights(name) if name in packaged_weights() else Path(path)

    def rows(self, generator: StyleGAN2Generator) -> Tensor:
        """Read the changes; see `IdentityEdits.rows`."""
        found = self._read()
        synthesis = generator.network.synthesis
        styles, width = synthesis.num_ws, synthesis.w_dim
        shapes = {(styles * width,), (styles, width), (width,)}
        if tuple(found.shape[1:]) not in shapes or not len(found):
            raise CheckpointError(
                f"{self.path} holds the shape {tuple(found.shape)}; {generator.checkpoint} needs "
                f"[a, {styles * width}], [a, {styles}, {width}] or [a, {width}]."
            )
        if not found.is_floating_point() or not found.isfinite().all():
            raise CheckpointError(f"{self.path} holds numbers that are not finite; make it again.")
        return found.float().reshape(len(found), -1, width).expand(-1, styles, -1)

    def _read(self) -> Tensor:
        """Read whatever tensor there is."""
        try:
            match self.path.suffix:
                case ".pt" | ".pth":
                    found = torch.load(self.path, map_location="cpu", weights_only=True)
                case ".npy":
                    found = torch.from_numpy(np.load(self.path, allow_pickle=False))
                case ".safetensors":
                    (found,) = load_file(self.path).values()
                case _:
                    raise CheckpointError(
                        f"{self.path} is of an unknown kind; give a .pt, .npy or .safetensors file."
                    )
        except FileNotFoundError as error:
            raise CheckpointError(
                f"There is no file {Path(self.path).absolute()}; check the path."
            ) from error
        except (
            OSError, RuntimeError, ValueError, TypeError, EOFError,
            SafetensorError, pickle.UnpicklingError,
        ) as error:  # fmt: skip
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"{self.path} holds no single array ({reason}).") from error
        if not isinstance(found, Tensor):
            raise CheckpointError(
                f"{self.path} holds a {type(found).__name__}; give a file with a tensor."
            )
        return found.detach()


class PrincipalEdits(IdentityEdits):
    """Changes along what varies most in the network's own layers.

    Coarse layers, of 4 and 8 pixels, draw pose and outline, middle ones, to 32 pixels, features and
    expression, and fine ones light and colours (Karras et al. 2019, section 3.1). Each change is a
    principal component of the styles of these layers over samples of the prior, as GANSpace
    (Härkönen et al. 2020) has them of activations, and only these layers are changed. Whether a
    face is still the same to a recogniser depends on the network and the strength, and has to be
    measured.

    Args:
        number: How many changes; the first is none at all, then pairs of either sign follow, of
            coarse, middle and fine layers in turns, larger components first.
        strength: Length, in standard deviations of a component.
        seed: Draws the samples.

    Raises:
        StyleGAN2Error: From the constructor: the number is not positive, or the strength no finite
            number. From `rows`: there are fewer components than asked for.
    """

    def __init__(self, *, number: int = 9, strength: float = 1.0, seed: int = 0) -> None:
        if number < 1:
            raise StyleGAN2Error(f"number is {number}; give a whole number of at least 1.")
        if not math.isfinite(strength):
            raise StyleGAN2Error(f"strength is {strength}; give a finite number.")
        self.number = number
        self.strength = strength
        self.seed = seed

    def rows(self, generator: StyleGAN2Generator) -> Tensor:
        """Find the changes; see `IdentityEdits.rows`."""
        synthesis = generator.network.synthesis
        kinds = [layers for layers in _KINDS if layers.start < synthesis.num_ws]
        most = 1 + 2 * len(kinds) * synthesis.w_dim
        if self.number > most:
            raise StyleGAN2Error(
                f"number is {self.number}; this network has {most} changes at most."
            )
        samples = generator.sample_latents(10_000, torch.Generator().manual_seed(self.seed))
        covariance = torch.cov(generator.layered(samples)[:, 0].double().T)
        rows = torch.zeros(self.number, synthesis.num_ws, synthesis.w_dim)
        for offset, layers in enumerate(kinds):
            components = self.strength * _components(covariance, _affine(generator, layers)).float()
            for sign in (1, -1):
                first = 1 + 2 * offset + (sign < 0)
                chosen = range(first, self.number, 2 * len(kinds))
                for row, component in zip(chosen, components, strict=False):
                    rows[row, layers] = sign * component
        return rows


def _affine(generator: StyleGAN2Generator, layers: slice) -> Tensor:
    """Return how the styles of layers follow from normalised w, ``[m, w_dim]``.

    An image layer shares its w with the first layer of the next resolution.
    """
    synthesis = generator.network.synthesis
    wanted = range(synthesis.num_ws)[layers]
    weights = [
        layer.affine.weight / math.sqrt(layer.affine.weight.shape[1])
        for index, resolution in enumerate(synthesis.resolutions)
        for number, name in enumerate(("conv0", "conv1", "torgb"), start=2 * index - 1)
        if number in wanted
        and isinstance(
            layer := getattr(synthesis.get_submodule(f"b{resolution}"), name, None),
            ModulatedConv | ToRGB,
        )
    ]
    return torch.cat(weights).cpu().double() * generator.w_std.cpu().double()


def _components(covariance: Tensor, linear: Tensor) -> Tensor:
    """Return what one standard deviation of a principal component is worth in latents.

    Args:
        covariance: Of latents, ``[d, d]``.
        linear: Maps latents to what is analysed, ``[m, d]``.

    Returns:
        The expected change of latents when a component grows by one standard deviation, largest
        component first, ``[d, d]``, a row for each; signs are such that the largest entry of each
        row is positive.
    """
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    _, axes = torch.linalg.eigh(root.T @ linear.T @ linear @ root)
    rows: Tensor = (root @ axes.flip(1)).T
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
    return rows * largest.sign()
