"""A generator that draws images as functions of the plane, crisp at any resolution.

A small network writes, from a code, the weights of another one, which maps each pixel's position
to how much of a figure covers it (implicit neural representations; Skorokhodov et al., CVPR 2021).
Its first layer is a set of half-planes, so straight edges and sharp corners cost nothing, where
convolutions need many channels and long training. The codes are those of an autoencoder; a
rectified flow (Liu et al., ICLR 2023) carries normal noise to them, so that they can be sampled.
Codes are the latents, as W is searched in StyleGAN2 and not Z: there directions have a meaning.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qdgs_lightning.generators.base import Generator
from qdgs_lightning.weights.files import load_weights, read_config, save_weights

_SAMPLE_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class ImplicitArchitecture:
    """Sizes of an `ImplicitGenerator`.

    Attributes:
        code_size: Coordinates of a code, which is a latent.
        half_planes: Units of the first layer over the plane.
        hidden: Units of the second layer over the plane.
        width: Units of the layers that write the others' weights, and of the flow's.
        flow_steps: Midpoint steps from noise to code.
        image_size: Side of the images in pixels.
    """

    code_size: int = 12
    half_planes: int = 16
    hidden: int = 8
    width: int = 256
    flow_steps: int = 6
    image_size: int = 128


class ImplicitDecoder(nn.Module):
    """Code to image: one figure in one colour on white."""

    axis: Tensor

    def __init__(self, architecture: ImplicitArchitecture) -> None:
        super().__init__()
        width, planes, hidden = (
            architecture.width,
            architecture.half_planes,
            architecture.hidden,
        )
        self.trunk = nn.Sequential(
            nn.Linear(architecture.code_size, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
        )
        self.sizes = [planes, planes, planes, planes * hidden, hidden, hidden, 1]
        self.weights = nn.Linear(width, sum(self.sizes))
        self.colour = nn.Linear(width, 3)
        size = architecture.image_size
        # Spanning eight units makes edges of a pixel's width reachable for small weights.
        axis = 8 * (torch.arange(size) + 0.5) / size - 4
        self.register_buffer("axis", axis, persistent=False)

    def forward(
        self, codes: Tensor, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Tensor:
        """Draw the pixels of some rows and columns.

        Args:
            codes: Shape ``[n, code_size]``.
            rows: Which rows; training looks at every other one to save time.
            columns: Which columns.

        Returns:
            RGB in [0, 1], shape ``[n, 3, rows, columns]``.
        """
        features = self.trunk(codes)
        slope_x, slope_y, offset, mixing, bias, readout, threshold = self.weights(features).split(
            self.sizes, dim=1
        )
        planes, hidden = offset.shape[1], bias.shape[1]
        along_x = slope_x.unsqueeze(2) * self.axis[columns] + offset.unsqueeze(2)
        along_y = slope_y.unsqueeze(2) * self.axis[rows]
        plane = F.relu(along_y.unsqueeze(3) + along_x.unsqueeze(2)).flatten(2)
        mixing = mixing.view(-1, hidden, planes) * (2 / planes**0.5)
        mixed = F.relu(torch.baddbmm(bias.unsqueeze(2), mixing, plane))
        logit = torch.baddbmm(threshold.unsqueeze(2), 2 * readout.unsqueeze(1), mixed)
        # White and what the colour takes from it, as a product of matrices: its gradients are
        # products as well, where those of a broadcast product are sums over all pixels.
        paint = torch.sigmoid(self.colour(features)).unsqueeze(2) - 1
        images = torch.baddbmm(torch.ones_like(paint), paint, torch.sigmoid(logit))
        return images.view(-1, 3, along_y.shape[2], along_x.shape[2])


class LatentFlow(nn.Module):
    """The velocity field of a rectified flow from normal noise to codes."""

    def __init__(self, code_size: int, width: int) -> None:
        super().__init__()
        self.velocity = nn.Sequential(
            nn.Linear(code_size + 3, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, code_size),
        )

    def forward(self, points: Tensor, time: Tensor) -> Tensor:
        """Return velocities at points ``[n, code_size]`` and times ``[n, 1]`` in [0, 1]."""
        phase = torch.pi * time
        return torch.as_tensor(
            self.velocity(torch.cat([points, time, phase.sin(), phase.cos()], dim=1))
        )

    def matching_loss(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the velocity on straight paths from the prior to codes.

        Args:
            codes: Targets, shape ``[n, code_size]``.
            generator: Source of starts and times, on the device of the codes.
        """
        device = codes.device
        starts = torch.randn(codes.shape, generator=generator, device=device)
        time = torch.rand(len(codes), 1, generator=generator, device=device)
        return F.mse_loss(self(torch.lerp(starts, codes, time), time), codes - starts)

    def transport(self, noise: Tensor, steps: int) -> Tensor:
        """Carry normal noise ``[n, code_size]`` to codes by the midpoint rule."""
        points = noise
        for step in range(steps):
            time = torch.full_like(points[:, :1], step / steps)
            middle = points + self(points, time) / (2 * steps)
            points = points + self(middle, time + 1 / (2 * steps)) / steps
        return points


class ImplicitGenerator(Generator):
    """Draws images of codes; the prior of codes is what the flow makes of normal noise.

    Args:
        weights: A shipped name or a path from ``qdgs fit --config configs/shapes_generator.yaml``;
            the file says how large the networks are. ``None`` for random weights.
        architecture: Sizes when there are no weights to say them.

    Raises:
        WeightsError: From the constructor or `prepare`: no such weights, or damaged ones.
    """

    def __init__(
        self,
        weights: str | None = "shapes_generator_090",
        architecture: ImplicitArchitecture | None = None,
    ) -> None:
        super().__init__()
        if weights is not None:
            names = [field.name for field in fields(ImplicitArchitecture)]
            architecture = ImplicitArchitecture(**read_config(weights, names))
        self.architecture = architecture or ImplicitArchitecture()
        self.weights = weights
        self.latent_shape = (self.architecture.code_size,)
        self.image_size = self.architecture.image_size
        self.decoder = ImplicitDecoder(self.architecture)
        self.flow = LatentFlow(self.architecture.code_size, self.architecture.width)
        self._loaded = weights is None

    def prepare(self) -> None:
        """Load the weights, once."""
        if not self._loaded and self.weights is not None:
            load_weights(self, self.weights)
            self._loaded = True
        super().prepare()

    def settings(self) -> dict[str, object]:
        """Return the sizes: not all of them, such as the steps of the flow, show in the weights."""
        return asdict(self.architecture)

    def save(self, path: Path) -> None:
        """Write weights and sizes to a ``.safetensors`` file."""
        save_weights(self, path, asdict(self.architecture))

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw codes; see `Generator.sample_latents`."""
        noise = torch.randn(n, *self.latent_shape, generator=generator)
        device = self.decoder.axis.device
        with torch.no_grad():
            parts = [
                self.flow.transport(part.to(device), self.architecture.flow_steps).cpu()
                for part in torch.split(noise, _SAMPLE_BATCH)
            ]
        return torch.cat(parts)

    def forward(self, latents: Tensor) -> Tensor:
        """Draw images; see `Generator.forward`."""
        return torch.as_tensor(self.decoder(latents))
