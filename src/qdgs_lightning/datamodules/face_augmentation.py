"""Alterations of face crops for training, in batches on the device, with a draw for every image."""

import math
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qdgs_lightning.datasets.checks import DataModuleError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in torchvision and Pillow
_RESAMPLING = ("nearest", "bilinear", "area", "bicubic")
_ORDERS = tuple(permutations(range(3)))
_NUM_DRAWS = 15


class FaceAugmentation(nn.Module):
    """The alterations with which AdaFace is trained (Kim et al., CVPR 2022), image by image.

    Each image is mirrored, cropped, coarsened and recoloured or not, independently:

    - flip: mirrored left to right.
    - crop: all but a box becomes black; what is in the box stays where it was. Its area is a share
      of 0.2 to 1 of the image's, its ratio of width to height 3/4 to 4/3 (uniform in logarithm).
    - low resolution: down to a share of 0.2 to 1 of the side, and up again; either way by nearest
      neighbour, bilinear, area or bicubic interpolation, each as often. (AdaFace's code has
      Lanczos as a fifth, which torch lacks.)
    - photometric: brightness, contrast and saturation, in any order, each times 0.5 to 1.5.

    All draws come from a generator that is handed in, on the CPU: equal ones give equal images on
    every device.

    Args:
        flip: Probability that an image is mirrored.
        crop: That it is cropped.
        low_resolution: That it is coarsened.
        photometric: That it is recoloured.

    Raises:
        DataModuleError: A probability lies outside [0, 1].

    Example:
        >>> augmentation = FaceAugmentation()
        >>> augmentation(images, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([64, 3, 112, 112])
    """

    def __init__(
        self,
        *,
        flip: float = 0.5,
        crop: float = 0.2,
        low_resolution: float = 0.2,
        photometric: float = 0.2,
    ) -> None:
        super().__init__()
        self.flip, self.crop = flip, crop
        self.low_resolution, self.photometric = low_resolution, photometric
        for name in ("flip", "crop", "low_resolution", "photometric"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataModuleError(
                    f"The probability {name} is {getattr(self, name)}; give a number from 0 to 1."
                )
        self._resampling: dict[tuple[int, torch.device], Tensor] = {}

    def forward(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """Alter images ``[n, 3, S, S]`` in [0, 1]; returns as many in the same range.

        Args:
            images: Any number of them.
            generator: On the CPU; fifteen uniform numbers are taken for every image.
        """
        draws = torch.rand(len(images), _NUM_DRAWS, generator=generator)
        chosen = draws[:, :4] < torch.tensor(
            [self.flip, self.crop, self.low_resolution, self.photometric]
        )
        rows = [column.nonzero().flatten() for column in chosen.T]
        images = images.clone()
        for index, alter in enumerate((self._mirror, self._crop, self._coarsen, self._recolour)):
            if len(where := rows[index]):
                on_device = where.to(images.device, non_blocking=True)
                images[on_device] = alter(images[on_device], draws[where, 4:])
        return images

    @staticmethod
    def _mirror(images: Tensor, draws: Tensor) -> Tensor:
        return images.flip(3)

    @staticmethod
    def _crop(images: Tensor, draws: Tensor) -> Tensor:
        """Blacken what lies outside a box."""
        side = images.shape[-1]
        area = 0.2 + 0.8 * draws[:, 0]
        ratio = (math.log(4 / 3) * (2 * draws[:, 1] - 1)).exp()
        sizes = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()])
        sizes = (sizes * side).round().clamp(1, side)  # height, width
        begin = (draws[:, 2:4].T * (side - sizes + 1)).floor()
        begin, end = begin.to(images.device), (begin + sizes).to(images.device)
        place = torch.arange(side, device=images.device)
        inside = (place >= begin[..., None]) & (place < end[..., None])  # [2, n, S]
        return images * (inside[0, :, None, :, None] & inside[1, :, None, None, :])

    def _coarsen(self, images: Tensor, draws: Tensor) -> Tensor:
        """Resample down and up again, each direction as one product with a matrix."""
        side = images.shape[-1]
        table = self._table(side, images.device)
        smallest = max(1, math.floor(0.2 * side))
        size = smallest + (draws[:, 4] * (side - smallest + 1)).long()
        down, up = (draws[:, 5:7].T * len(_RESAMPLING)).long()
        size, down, up = (index.to(images.device) for index in (size, down, up))
        both = (table[1, up, size] @ table[0, down, size]).to(images.dtype)[:, None]
        return (both @ images @ both.mT).clamp(0, 1)

    def _table(self, side: int, device: torch.device) -> Tensor:
        """Return all matrices, ``[down or up, method, size, S, S]``, zero where there is none.

        Resampling is linear and the same along rows and columns: what it makes of the unit
        vectors is its matrix. For 112 pixels the table has 45 MB.
        """
        if (side, device) not in self._resampling:
            table = torch.zeros(2, len(_RESAMPLING), side + 1, side, side)
            identity = torch.eye(side)[None]
            for size in range(max(1, math.floor(0.2 * side)), side + 1):
                for row, method in enumerate(_RESAMPLING):
                    table[0, row, size, :size] = _resample(identity, size, method)
                    units = torch.eye(size)[None]
                    table[1, row, size, :, :size] = _resample(units, side, method)
            self._resampling[side, device] = table.to(device)
        return self._resampling[side, device]

    @staticmethod
    def _recolour(images: Tensor, draws: Tensor) -> Tensor:
        """Change brightness, contrast and saturation in an order of the image's own."""
        factors = (0.5 + draws[:, 7:10]).to(images)[..., None, None, None]  # [n, 3, 1, 1, 1]
        orders = torch.tensor(_ORDERS)[(draws[:, 10] * len(_ORDERS)).long()].to(images.device)
        for step in range(3):
            which = orders[:, step, None, None, None]
            grey = _grey(images)
            mean = grey.mean(dim=(2, 3), keepdim=True)
            other = torch.where(which == 0, 0.0, torch.where(which == 1, mean, grey))
            factor = factors.gather(1, which[..., None])[:, 0]
            images = (other + factor * (images - other)).clamp(0, 1)
        return images


def _grey(images: Tensor) -> Tensor:
    """Return the brightness of images ``[n, 3, S, S]`` as ``[n, 1, S, S]``."""
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def _resample(vectors: Tensor, size: int, method: str) -> Tensor:
    """Resample the columns of ``[1, S, m]`` to a number of rows; returns ``[size, m]``."""
    options = {} if method in ("nearest", "area") else {"align_corners": False}
    wide = vectors[:, None]  # one image of m columns, the height of which changes
    return F.interpolate(wide, (size, vectors.shape[-1]), mode=method, **options)[0, 0]
