"""What the images of some identities look like, a row for each."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qdgs_lightning.errors import QDGSError

_CELL = 0.55  # inches
_EMPTY = 0.92


def identity_sheet(
    images: Sequence[Tensor], *, titles: Sequence[str], edits: int = 1, heading: str = ""
) -> Figure:
    """Lay the images of identities out, a row for each identity.

    Within a row they stand in their order, with a gap wherever a new latent begins, so that the
    same column is the same edit in every row. The row of an identity without images is grey.

    Args:
        images: For each identity its images, RGB, in [0, 1] or uint8, shape ``[n, 3, S, S]``;
            first those of one latent under all edits, then those of the next. n may differ.
        titles: What each row is called.
        edits: How many images there are of a latent.
        heading: Stands above all.

    Returns:
        A figure of 0.55 inches an image, each of which is saved with its own number of pixels where
        that is 55 to 110.

    Raises:
        QDGSError: There is no image, images differ in size, or titles do not fit rows.

    Example:
        >>> identity_sheet([drawn[:4], drawn[4:8]], titles=["dark", "light"], edits=2)
    """
    sizes = {tuple(each.shape[1:]) for each in images if len(each)}
    if len(sizes) != 1 or edits < 1 or len(titles) != len(images):
        raise QDGSError(
            f"{len(images)} identities with {len(titles)} titles, {edits} edits and images of "
            f"shapes {sorted(sizes)} make no sheet: give images of one size, a title for each "
            "identity, and one edit or more."
        )
    ((_, side, _),) = sizes
    across = max(len(each) for each in images)
    latents = -(-across // edits)
    gap, between = -(-side // 4), -(-side // 8)
    left = [column * side + column // edits * gap for column in range(across)]
    top = [row * (side + between) for row in range(len(images))]
    canvas = torch.ones(top[-1] + side, left[-1] + side, 3)
    for begin, each in zip(top, images, strict=True):
        if not len(each):
            canvas[begin : begin + side] = _EMPTY
        pixels = each.detach().cpu() / 255 if each.dtype == torch.uint8 else each.detach().cpu()
        for x, image in zip(left, pixels.float().clamp(0, 1), strict=False):
            canvas[begin : begin + side, x : x + side] = image.permute(1, 2, 0)
    height, width = (_CELL * size / side for size in canvas.shape[:2])
    # Laid out by hand and in whole pixels, so that where the resolution allows it an image keeps
    # its own.
    dpi = min(max(side / _CELL, 100), 200)
    longest = max(len(line) for title in titles for line in title.splitlines())
    parts = (0.2 + 0.07 * longest, 0.1, width, height)
    margin, bottom, wide, high = (round(inches * dpi) for inches in parts)
    across, up = max(margin + wide + bottom, round(6.4 * dpi)), high + round(0.65 * dpi)
    # A millionth of a pixel more, lest rounding cut one off.
    figure = Figure(figsize=((across + 1e-6) / dpi, (up + 1e-6) / dpi), dpi=dpi)
    axes = figure.add_axes((margin / across, bottom / up, wide / across, high / up))
    axes.imshow(canvas.numpy())
    axes.set_yticks([begin + side / 2 for begin in top], titles, fontsize="small")
    blocks = [left[each * edits : (each + 1) * edits] for each in range(latents)]
    names = [_name(number, len(block), edits) for number, block in enumerate(blocks, start=1)]
    centres = [(block[0] + block[-1] + side) / 2 for block in blocks]
    axes.set_xticks(centres, names, fontsize="small")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(heading, fontsize="medium", loc="left")
    return figure


def _name(latent: int, shown: int, edits: int) -> str:
    """What a block of images of one latent is called."""
    if edits == 1:
        return str(latent) if latent > 1 else "latent 1"
    return f"latent {latent}" + (f", edits 1 to {shown}" if shown > 1 else "")
