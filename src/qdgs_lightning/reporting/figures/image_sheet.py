"""Images side by side, each with a caption."""

import textwrap
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qdgs_lightning.errors import QDGSError

_CELL = 0.9  # inches
_LINE = 0.16
_LETTERS = 14  # in a line of a caption


def image_sheet(
    images: Tensor, captions: Sequence[str], *, across: int = 8, heading: str = ""
) -> Figure:
    """Lay images out in rows, a caption below each.

    Args:
        images: RGB, in [0, 1] or uint8, shape ``[n, 3, S, S]``.
        captions: One for each image.
        across: Images in a row.
        heading: Stands above all.

    Raises:
        QDGSError: There is no image, or not a caption for each.

    Example:
        >>> image_sheet(batch[0], [f"identity {label}" for label in batch[1]])
    """
    if not len(images) or len(images) != len(captions) or across < 1:
        raise QDGSError(
            f"{len(images)} images with {len(captions)} captions make no sheet: give one image or "
            "more, a caption for each, and one or more in a row."
        )
    folded = [textwrap.fill(caption, _LETTERS) for caption in captions]
    lines = max(caption.count("\n") + 1 for caption in folded)
    rows, columns = -(-len(images) // across), min(across, len(images))
    height = rows * (_CELL + (lines + 0.5) * _LINE) + 0.4
    figure = Figure(figsize=(max(columns * _CELL, 4.0), height), layout="constrained", dpi=120)
    pixels = images.detach().cpu()
    shown = (pixels / 255 if pixels.dtype == torch.uint8 else pixels.float()).clamp(0, 1)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption in zip(grid.flat, shown, folded, strict=False):
        axes.imshow(image.permute(1, 2, 0).numpy())
        axes.text(0.5, -0.05, caption, transform=axes.transAxes, ha="center", va="top", fontsize=7)
    figure.suptitle(heading, fontsize="medium")
    return figure
