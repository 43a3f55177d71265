"""A canvas for soft regions between curves, of many images at once.

A region is bounded by two curves, over the columns of the image (an eye lies between its lids) or
over its rows (a head between its cheeks), so that most of the work is done on curves and an outer
difference makes the plane. Half a pixel on either side of a bound is blended.
"""

import torch
from torch import Tensor

Colour = Tensor | tuple[float, float, float]


def ramp(values: Tensor, colours: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Look up colours ``[n, 3]`` on a ramp over [0, 1]."""
    table = torch.tensor(colours)
    place = values.clamp(0, 1) * (len(table) - 1)
    below = place.long().clamp(max=len(table) - 2)
    return torch.lerp(table[below], table[below + 1], (place - below).unsqueeze(1))


def rise(values: Tensor, low: float, high: float) -> Tensor:
    """Go from 0 at `low` to 1 at `high`, which may be the smaller one."""
    return ((values - low) / (high - low)).clamp(0, 1)


def arch(u: Tensor) -> Tensor:
    """Return half an ellipse over [-1, 1], and something negative elsewhere."""
    rest = 1 - u.square()
    return torch.where(rest > 0, rest.clamp(min=0).sqrt(), rest)


def coordinates(size: int) -> Tensor:
    """Return the coordinate of each column or row, from -1 to 1, shape ``[1, size]``."""
    return ((torch.arange(size) + 0.5) * 2 / size - 1)[None]


class SoftCanvas:
    """n square pictures to paint on.

    Coordinates run from -1 to 1, y downwards. Curves are ``[n, size]``, over columns or rows;
    numbers are ``[n, 1]`` to go with them.

    Args:
        pixels: What is there at first, RGB, shape ``[n, 3, size, size]``; painted on in place.
        middle: x of what mirrored regions are mirrored at, shape ``[n, 1]``.

    Attributes:
        x: Coordinate of each column, shape ``[1, size]``.
        y: Coordinate of each row, shape ``[1, size]``.
        centred: Distance of each column from `middle`, shape ``[n, size]``.
        sideways: Its magnitude.
    """

    def __init__(self, pixels: Tensor, middle: Tensor) -> None:
        self.pixels = pixels
        self.size = pixels.shape[-1]
        self.x = self.y = coordinates(self.size)
        self.centred = self.x - middle
        self.sideways = self.centred.abs()

    def window(self, low: float, high: float) -> slice:
        """Rows of the image between two heights."""
        return slice(
            max(0, int((low + 1) / 2 * self.size)),
            min(self.size, int((high + 1) / 2 * self.size) + 1),
        )

    def over_columns(self, middle: Tensor, half: Tensor, rows: slice) -> Tensor:
        """How much of each pixel lies within `half` above or below `middle`.

        Args:
            middle: A curve over the columns, shape ``[n, size]``.
            half: Another one; nothing is covered where it is negative.
            rows: Which rows to look at.

        Returns:
            From 0 to 1, shape ``[n, rows, size]``.
        """
        scale = self._scale(half)
        middle = middle.expand(-1, self.size)
        distance = (self.y[:, rows, None] - middle[:, None]).abs_()
        return (half * scale + 0.5)[:, None].sub(distance.mul_(scale[:, None])).clamp_(0, 1)

    def over_rows(
        self, middle: Tensor, half: Tensor, rows: slice, *, mirrored: bool = False
    ) -> Tensor:
        """How much of each pixel lies within `half` left or right of `middle`.

        Args:
            middle: A curve over the rows, shape ``[n, size]`` or ``[n, 1]``.
            half: Another one; nothing is covered where it is negative.
            rows: Which rows to look at.
            mirrored: Whether distances from the face's middle count, on both sides.

        Returns:
            From 0 to 1, shape ``[n, rows, size]``.
        """
        scale = self._scale(half)[:, rows, None]
        x = self.sideways if mirrored else self.x
        distance = (x[:, None] - middle.expand(-1, self.size)[:, rows, None]).abs_()
        return (half[:, rows, None] * scale + 0.5).sub(distance.mul_(scale)).clamp_(0, 1)

    def _scale(self, half: Tensor) -> Tensor:
        """Pixels per unit across a curve, which is fewer than along an axis where it is steep."""
        steepness = torch.diff(half, dim=1, append=half[:, -1:]) * (self.size / 2)
        # Where a curve ends abruptly it has no slope worth the name.
        return steepness.clamp_(-3, 3).square_().add_(1).rsqrt_().mul_(self.size / 2)

    def paint(
        self, coverage: Tensor, colour: Colour, rows: slice, strength: Tensor | float = 1.0
    ) -> None:
        """Lay a colour ``[n, 3]`` over what is covered."""
        rgb = torch.as_tensor(colour)
        rgb = rgb[None] if rgb.ndim == 1 else rgb
        if isinstance(strength, Tensor):
            coverage = coverage * strength[:, :, None]
        elif strength != 1:
            coverage = coverage * strength
        self.pixels[:, :, rows].lerp_(rgb[:, :, None, None], coverage.unsqueeze(1))
