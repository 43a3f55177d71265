"""Images that were drawn once, in bytes, so that a generator need not draw them again."""

from collections.abc import Callable

import torch
from torch import Tensor

from qdgs_lightning.datasets.checks import DataModuleError
from qdgs_lightning.identities.drawer import RESIDUES


def check_ranks(world: int) -> None:
    """Make sure that each rank shows the same images in every epoch; see `epoch_order`.

    Args:
        world: Number of processes.

    Raises:
        DataModuleError: It would not.
    """
    if RESIDUES % world:
        raise DataModuleError(
            f"A cache needs a number of ranks that divides {RESIDUES}, not {world}: set "
            "`data.init_args.cache: none`, or change `trainer.devices`."
        )


class ImageCache:
    """The images of one rank: those whose number is the rank modulo the number of ranks.

    Args:
        side: Side of the images in pixels.
        device: Where they are kept.
        rank: Index of this process.
        world: Number of processes.
    """

    def __init__(self, *, side: int, device: torch.device, rank: int, world: int) -> None:
        self._rank, self._world = rank, world
        self._latents = torch.empty(0, dtype=torch.int64)
        self._images = torch.empty(0, 3, side, side, dtype=torch.uint8, device=device)
        # On the CPU, so that asking it does not wait for the device.
        self._drawn = torch.empty(0, dtype=torch.bool)

    def renew(self, latents: Tensor, *, edits: int) -> None:
        """Make room for the images of a table, and keep those of latents that have their place yet.

        Args:
            latents: What tells the latent of each row of the table from others, int64, ``[n]``.
            edits: How many images there are of each, the same at every call.

        Raises:
            DataModuleError: Memory does not suffice.
        """
        both = min(len(latents), len(self._latents))
        size = len(range(self._rank, len(latents) * edits, self._world))
        drawn = torch.zeros(size, dtype=torch.bool)
        kept = min(size, len(self._drawn))
        drawn[:kept] = self._drawn[:kept]
        changed = (latents[:both] != self._latents[:both]).nonzero()
        numbers = (changed * edits + torch.arange(edits)).flatten()
        drawn[numbers[numbers % self._world == self._rank] // self._world] = False
        self._latents, self._drawn = latents, drawn
        if size > len(self._images):
            try:
                images = self._images.new_empty(size, *self._images.shape[1:])
            except RuntimeError as error:  # of several types, one for each kind of memory
                gigabytes = size * self._images.shape[1:].numel() / 1e9
                raise DataModuleError(
                    f"The cache of {size} images takes {gigabytes:.1f} GB, which there is no room "
                    "for: set `data.init_args.cache` to host or none, or take more ranks."
                ) from error
            images[:kept] = self._images[:kept]
            self._images = images

    def get(self, numbers: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Return images by their numbers, drawing those that are not there.

        Args:
            numbers: Of this rank, int64, on the CPU, shape ``[n]``.
            draw: Makes images, uint8, ``[m, 3, S, S]``, of m of the numbers.

        Returns:
            Uint8, ``[n, 3, S, S]``, where the cache is.
        """
        places = numbers // self._world
        missing = ~self._drawn[places]
        if missing.any():
            new = draw(numbers[missing]).to(self._images.device)
            self._images[places[missing].to(self._images.device)] = new
            self._drawn[places[missing]] = True
        return self._images[places.to(self._images.device)]
