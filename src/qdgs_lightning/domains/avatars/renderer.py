"""Vectorised drawing of simple faces, the raw material of the avatars domain.

A face is a stack of soft regions, see `SoftCanvas`. All images of a batch are drawn at once, and a
core draws two thousand 64-pixel faces a second. Faces are framed as FFHQ's: eyes a quarter of the
side apart, a little above the middle.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from qdgs_lightning.domains.avatars.canvas import SoftCanvas, arch, coordinates, ramp, rise

GEOMETRY = (
    "face_width", "face_length", "jaw", "cheeks", "eye_distance", "eye_width", "eye_height",
    "eye_slant", "eye_level", "brow_level", "brow_thickness", "brow_slant", "nose_length",
    "nose_width", "mouth_width", "mouth_level", "lips", "ears", "hairline", "hair_volume",
)  # fmt: skip
"""What makes an identity, each from -1 to 1."""

VIEW = (
    "yaw", "pitch", "light_x", "light_y", "exposure", "smile", "mouth_open", "backdrop",
    "backdrop_hue", "clothes",
)  # fmt: skip
"""What changes from image to image of one identity, each from -1 to 1."""


@dataclass(frozen=True, kw_only=True)
class Avatars:
    """All that n drawn faces depend on.

    Attributes:
        skin: From light (0) to dark (1), shape ``[n]``.
        age: From young (0) to old (1), shape ``[n]``.
        gender: Presentation from masculine (0) to feminine (1), shape ``[n]``.
        hair_length: From short (0) to long (1), shape ``[n]``.
        hair_colour: From black (0) over brown to blond (1), before age greys it, shape ``[n]``.
        eye_colour: From brown (0) over green to blue (1), shape ``[n]``.
        geometry: One column per name in `GEOMETRY`, shape ``[n, 20]``.
        view: One column per name in `VIEW`, shape ``[n, 10]``.
    """

    skin: Tensor
    age: Tensor
    gender: Tensor
    hair_length: Tensor
    hair_colour: Tensor
    eye_colour: Tensor
    geometry: Tensor
    view: Tensor

    def __len__(self) -> int:
        return len(self.skin)

    def rows(self, index: Tensor | slice) -> "Avatars":
        """Choose some of them."""
        return Avatars(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def render_avatars(avatars: Avatars, image_size: int = 64) -> Tensor:
    """Draw faces.

    Args:
        avatars: n of them.
        image_size: Side in pixels.

    Returns:
        RGB images in [0, 1], shape ``[n, 3, image_size, image_size]``.

    Example:
        >>> render_avatars(Population().sample(4, torch.Generator().manual_seed(0))).shape
        torch.Size([4, 3, 64, 64])
    """
    return _Face(avatars, image_size).draw()


_SKIN = ((0.98, 0.85, 0.76), (0.91, 0.71, 0.55), (0.58, 0.38, 0.27), (0.24, 0.155, 0.12))
_HAIR = ((0.07, 0.06, 0.06), (0.28, 0.17, 0.10), (0.52, 0.30, 0.15), (0.86, 0.71, 0.44))
_IRIS = ((0.22, 0.12, 0.06), (0.38, 0.42, 0.22), (0.30, 0.50, 0.72))
_BACKDROP = ((0.42, 0.50, 0.60), (0.62, 0.66, 0.60), (0.70, 0.60, 0.56), (0.55, 0.50, 0.62))
_CLOTHES = ((0.16, 0.20, 0.34), (0.45, 0.45, 0.47), (0.50, 0.16, 0.18), (0.16, 0.36, 0.28))
_GREY = (0.74, 0.74, 0.75)
_WHITE = (0.94, 0.94, 0.93)
_DARK = (0.06, 0.04, 0.04)

_TOP = -0.80  # of the head
_MIDDLE = -0.08  # where it is widest


class _Face(SoftCanvas):
    """A canvas, and the numbers that several features share."""

    def __init__(self, avatars: Avatars, size: int) -> None:
        # Numbers ``[n, 1]``, to go with curves over columns and rows.
        self.g = dict(zip(GEOMETRY, avatars.geometry.t()[:, :, None], strict=True))
        self.v = dict(zip(VIEW, avatars.view.t()[:, :, None], strict=True))
        self.masculine = rise(avatars.gender, 0.55, 0.15)[:, None]
        self.feminine = rise(avatars.gender, 0.45, 0.85)[:, None]
        self.old = rise(avatars.age, 0.3, 0.9)[:, None]
        self.long = avatars.hair_length[:, None]
        self.dark = avatars.skin[:, None]
        self.skin_rgb = ramp(avatars.skin, _SKIN)
        self.shade_rgb = self.skin_rgb * torch.tensor([0.60, 0.50, 0.47])
        self.hair_rgb = torch.lerp(
            ramp(avatars.hair_colour * (1 - 0.8 * avatars.skin), _HAIR),
            torch.tensor(_GREY),
            0.9 * rise(avatars.age, 0.42, 0.8)[:, None],
        )
        self.iris_rgb = ramp(avatars.eye_colour * (1 - 0.9 * avatars.skin), _IRIS)
        g, v = self.g, self.v
        self.turn = 0.09 * v["yaw"]  # of the features; the nose, in front, moves further
        self.nod = 0.05 * v["pitch"]
        self.width = 0.52 + 0.055 * g["face_width"] + 0.015 * self.masculine
        self.chin = 0.79 + 0.07 * g["face_length"] + 0.02 * self.masculine
        self.eye_level = -0.06 + 0.035 * g["eye_level"] + self.nod
        self.nose_tip = 0.21 + 0.055 * g["nose_length"] + 1.3 * self.nod
        self.mouth_level = 0.46 + 0.045 * g["mouth_level"] + self.nod
        backdrop = ramp((avatars.view[:, 8] + 1) / 2, _BACKDROP) * (1 + 0.35 * v["backdrop"])
        fall = 1 - 0.12 * coordinates(size)
        pixels = (backdrop[:, :, None] * fall[:, None])[..., None].repeat(1, 1, 1, size)
        # Mirrored features, such as eyes, are one curve over the distance from the middle.
        super().__init__(pixels, middle=self.turn)

    def draw(self) -> Tensor:
        """Paint from back to front."""
        self._hair_behind()
        self._neck_and_ears()
        self._head()
        self._age()
        self._nose()
        self._beard()
        self._mouth()
        self._eyes()
        self._brows()
        self._hair_in_front()
        return self.pixels.mul_((1 + 0.14 * self.v["exposure"])[:, :, None, None]).clamp_(0, 1)

    def _hair_outline(self) -> Tensor:
        """Half the width of hair and head, over the rows."""
        volume = 0.07 + 0.045 * self.g["hair_volume"] + 0.03 * self.long
        reach = _MIDDLE - _TOP + volume
        above = arch((self.y - _MIDDLE).clamp(max=0) / reach)
        flare = 0.10 * rise(self.long, 0.4, 1.0) * (self.y - _MIDDLE).clamp(min=0)
        end = torch.lerp(torch.tensor(-0.05), torch.tensor(1.3), self.long)
        return torch.minimum((self.width + volume) * above + flare, 2.5 * (end - self.y))

    def _hair_behind(self) -> None:
        rows = slice(None)
        self.hair = self.over_rows(0.5 * self.turn, self._hair_outline(), rows)
        self.paint(self.hair, 0.72 * self.hair_rgb, rows)

    def _neck_and_ears(self) -> None:
        rows = self.window(0.4, 1)
        neck = 0.27 + 0.05 * self.masculine + 0.4 * (self.y - 0.75).clamp(min=0)
        self.paint(self.over_rows(0.3 * self.turn, neck, rows), self.shade_rgb * 1.15, rows)
        clothes = ramp((self.v["clothes"][:, 0] + 1) / 2, _CLOTHES)
        collar = 0.99 - 0.12 * self.x.square() - 0.1 * (0.4 - self.x.abs()).clamp(min=0).neg()
        half = (1.1 - collar).expand(len(self.pixels), -1)
        self.paint(self.over_columns(collar + half, half, rows), clothes, rows)
        rows = self.window(-0.3, 0.35)
        size = 0.13 + 0.045 * self.g["ears"]
        ears = 0.045 + 0.35 * size * arch((self.y - 0.02) / size)
        ears = torch.where(ears > 0.045, ears, torch.tensor(-1.0))
        self.paint(self.over_rows(self.width, ears, rows, mirrored=True), self.shade_rgb, rows)

    def _head(self) -> None:
        above = arch((self.y - _MIDDLE).clamp(max=0) / (_MIDDLE - _TOP))
        down = (self.y - _MIDDLE).clamp(min=0) / (self.chin - _MIDDLE)
        square = 2.1 + 0.75 * self.g["jaw"] + 0.35 * self.masculine - 0.2 * self.feminine
        rest = 1 - down.pow(square)
        below = torch.where(rest > 0, rest.clamp(min=0).pow(0.62), 4 * rest)
        bump = 0.035 * self.g["cheeks"] * torch.exp(-((self.y - 0.15) / 0.22).square())
        outline = self.width * torch.minimum(above, below) + bump * (rest > 0)
        self.head = self.over_rows(0.25 * self.turn, outline, slice(None))
        u = self.centred / self.width
        side = 1.04 + 0.16 * self.v["light_x"] * u - 0.20 * u.square()
        height = -0.10 * self.v["light_y"] * self.y - 0.10 * (self.y - 0.35).clamp(min=0)
        light = side[:, None] + height[:, :, None]
        self.pixels.lerp_(self.skin_rgb[:, :, None, None] * light[:, None], self.head.unsqueeze(1))
        blush = torch.exp(-((self.sideways - 0.32) / 0.14).square())
        blush = blush[:, None] * torch.exp(-((self.y - 0.2) / 0.12).square())[:, :, None]
        strength = (0.12 + 0.18 * self.feminine) * (1 - 0.7 * self.dark)
        self.paint(blush * self.head, (0.85, 0.35, 0.35), slice(None), strength)

    def _age(self) -> None:
        """Lines of the forehead, bags under the eyes, folds from nose to mouth."""
        rows = self.window(-0.6, -0.2)
        levels = torch.tensor([-0.52, -0.43, -0.34])[:, None, None]
        lines = torch.exp(-((self.y[:, rows] - levels - self.nod) / 0.018).square()).sum(dim=0)
        across = rise(self.sideways, 0.34, 0.22)
        self.paint(lines[:, :, None] * across[:, None], self.shade_rgb, rows, 0.75 * self.old)
        rows = self.window(-0.1, 0.25)
        u = (self.sideways - 0.25 - 0.045 * self.g["eye_distance"]) / 0.13
        bag = self.eye_level + 0.115 - 0.05 * u.square()
        half = 0.020 * (1 - u.square())
        self.paint(self.over_columns(bag, half, rows), self.shade_rgb, rows, 0.8 * self.old)
        rows = self.window(0.1, 0.6)
        fold = 0.13 + 0.03 * self.g["nose_width"] + 0.34 * (self.y - self.nose_tip)
        ends = torch.minimum(self.y - self.nose_tip + 0.04, self.mouth_level + 0.04 - self.y)
        half = torch.minimum(0.016 * torch.ones(()), 0.3 * ends)
        folds = self.over_rows(fold, half, rows, mirrored=True)
        self.paint(folds, self.shade_rgb, rows, 0.15 + 0.75 * self.old)

    def _nose(self) -> None:
        tip, ahead = self.nose_tip, 0.5 * self.turn
        wide = 0.105 + 0.035 * self.g["nose_width"]
        rows = self.window(-0.25, 0.45)
        u = (self.centred - ahead) / wide
        along = torch.minimum(self.y - self.eye_level + 0.02, tip - self.y)
        ridge = self.over_rows(self.turn + ahead, torch.minimum(0.4 * wide, 0.5 * along), rows)
        self.paint(ridge, (self.skin_rgb * 1.12 + 0.03).clamp(max=1), rows, 0.45)
        lit = 0.10 * self.v["light_x"]
        flank = self.over_rows(
            self.turn + ahead - lit, torch.minimum(0.55 * wide - 0.2 * lit.abs(), 0.4 * along), rows
        )
        self.paint(flank * (1 - ridge), self.shade_rgb, rows, 0.35)
        base = self.over_columns(tip + 0.015 - 0.02 * u.square(), 0.030 * arch(u), rows)
        self.paint(base, self.shade_rgb, rows, 0.75)
        hole = ((self.centred - ahead).abs() - 0.52 * wide) / 0.035
        holes = self.over_columns(tip + 0.018, 0.020 * arch(hole), rows)
        self.paint(holes, self.shade_rgb * 0.45, rows, 0.8)

    def _beard(self) -> None:
        rows = self.window(0.1, 1)
        level = rise(self.y[:, rows], 0.30, 0.56)[:, :, None]
        cheek = (self.sideways / 0.5).square()[:, None]
        stubble = (level + 0.8 * cheek * rise(self.y[:, rows], 0.05, 0.4)[:, :, None]).clamp(max=1)
        colour = 0.5 * self.hair_rgb + 0.15 * self.skin_rgb
        self.paint(stubble * self.head[:, rows], colour, rows, 0.55 * self.masculine)
        u = self.centred / 0.19
        lip = self.mouth_level - 0.085 + 0.03 * u.square()
        half = 0.045 * arch(u)
        self.paint(self.over_columns(lip, half, rows), colour, rows, 0.5 * self.masculine)

    def _mouth(self) -> None:
        rows = self.window(0.25, 0.75)
        u = self.centred / (0.20 + 0.045 * self.g["mouth_width"] + 0.02 * self.v["smile"])
        round_ = 1 - u.square()
        bend = self.mouth_level + (0.01 - 0.075 * self.v["smile"] + 0.015 * self.old) * u.square()
        thick = (0.052 + 0.02 * self.g["lips"] + 0.014 * self.feminine) * (1 - 0.3 * self.old)
        gap = 0.045 * (self.v["mouth_open"] + 0.2).clamp(min=0) * round_
        red = torch.lerp(
            self.shade_rgb * 1.1, torch.tensor([0.70, 0.22, 0.24]), 0.25 + 0.5 * self.feminine
        )
        red = red * (1 - 0.45 * self.dark)
        upper = thick * round_ * (0.85 - 0.25 * torch.exp(-(u / 0.18).square()))
        low, high = bend - gap - upper, bend + gap + 1.15 * thick * round_
        self.paint(self.over_columns((low + high) / 2, (high - low) / 2, rows), red, rows)
        half = gap + 0.013 * (round_ > 0) - 0.5 * (round_ <= 0)
        self.paint(self.over_columns(bend, half, rows), _DARK, rows, 0.8)
        teeth = torch.where(round_ > 0.2, 0.55 * gap - 0.004, torch.tensor(-0.5))
        self.paint(self.over_columns(bend - 0.35 * gap, teeth, rows), _WHITE, rows, 0.9)

    def _eyes(self) -> None:
        g = self.g
        rows = self.window(-0.35, 0.2)
        apart = 0.25 + 0.04 * g["eye_distance"]
        wide = 0.118 + 0.022 * g["eye_width"]
        tall = 0.060 + 0.018 * g["eye_height"] - 0.012 * self.old
        out = self.sideways - apart
        u = out / wide
        middle = self.eye_level - 0.16 * g["eye_slant"] * out
        half = tall * (1 - u.square())
        eye = self.over_columns(middle, half, rows)
        socket = self.over_columns(middle - 0.03, 1.9 * tall * arch(u / 1.35), rows)
        self.paint(socket, self.shade_rgb, rows, 0.28)
        self.paint(eye, _WHITE, rows)
        gaze = out - 0.02 * self.v["yaw"] * self.centred.sign()
        disc = self.over_columns(middle, 0.058 * arch(gaze / 0.058), rows)
        self.paint(disc * eye, self.iris_rgb, rows)
        pupil = self.over_columns(middle, 0.028 * arch(gaze / 0.028), rows)
        self.paint(pupil * eye, _DARK, rows)
        inside = 1 - u.square() > 0
        lash = torch.where(inside, 0.010 + 0.014 * self.feminine, torch.tensor(-0.5))
        self.paint(self.over_columns(middle - half, lash, rows), _DARK, rows, 0.85)

    def _brows(self) -> None:
        g = self.g
        rows = self.window(-0.5, 0)
        out = self.sideways - 0.25 - 0.04 * g["eye_distance"]
        u = out / 0.155
        level = self.eye_level - 0.155 - 0.035 * g["brow_level"] - 0.01 * self.feminine
        middle = (
            level
            + (0.10 - 0.16 * g["brow_slant"]) * out
            + (0.02 + 0.02 * self.feminine) * u.square()
        )
        thick = 0.028 + 0.012 * g["brow_thickness"] + 0.013 * self.masculine - 0.008 * self.feminine
        brow = self.over_columns(middle, thick * arch(u), rows)
        self.paint(brow, 0.75 * self.hair_rgb, rows, 0.9)

    def _hair_in_front(self) -> None:
        """The cap above the hairline, and for long hair the locks at the sides of the face."""
        rows = self.window(-1, 0.3)
        line = -0.50 + 0.09 * self.g["hairline"] - 0.13 * self.old * self.masculine
        u = self.x / self.width
        edge = line + (0.50 - 0.06 * self.g["hairline"]) * u.square().square()
        half = (edge + 1.6) / 2
        cap = self.over_columns(edge - half, half, rows)
        sheen = (1.05 - 0.25 * u.square())[:, None] * torch.ones(())
        self.pixels[:, :, rows].lerp_(
            self.hair_rgb[:, :, None, None] * sheen[:, None],
            (cap * self.hair[:, rows]).unsqueeze(1),
        )
        length = rise(self.long, 0.45, 0.7)
        outer = self._hair_outline()
        inner = self.width * (1.02 - 0.16 * length) + 0.10 * (self.y - 0.25).clamp(min=0)
        half = torch.where(self.y > -0.45, (outer - inner) / 2, torch.tensor(-1.0))
        locks = self.over_rows((outer + inner) / 2, half, slice(None), mirrored=True)
        self.paint(locks, 0.92 * self.hair_rgb, slice(None), length)
