"""What the images of an archive look like across its measures."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures.measure_axis import Ends, measure_label

_EMPTY = 0.85


def elite_grid(
    images: Tensor,
    measures: Tensor,
    *,
    names: tuple[str, str],
    ranges: tuple[tuple[float, float], tuple[float, float]] | None = None,
    shape: tuple[int, int] = (10, 10),
    ends: tuple[Ends | None, Ends | None] = (None, None),
) -> Figure:
    """Lay images out over two measures, each where its measures say.

    The space is cut into tiles; a tile shows the image nearest to its centre, and is grey where
    no image falls into it.

    Args:
        images: RGB, in [0, 1] or uint8, shape ``[n, 3, S, S]``.
        measures: The two measures of each image, shape ``[n, 2]``.
        names: What the measures are called, the horizontal one first.
        ranges: Lowest and highest value of each axis; what lies outside counts to the edge.
            None takes them from the measures.
        shape: Tiles along the horizontal and the vertical axis.
        ends: Descriptions of each measure's low and high end, as `Archive.metadata.measure_ends`
            has them; None where there are none.

    Returns:
        A figure of about 8 x 8 inches, its axes labelled by the measures and their ends.

    Raises:
        QDGSError: There is no image, or images and measures do not fit each other.
    """
    if len(images) == 0 or measures.shape != (len(images), 2):
        raise QDGSError(
            f"{len(images)} images and measures of shape {list(measures.shape)} make no grid: "
            "give at least one image and two measures for each."
        )
    low, high = _limits(measures, ranges)
    place = (measures.cpu() - low) / (high - low) * torch.tensor(shape)
    tile = place.floor().clamp(torch.zeros(2), torch.tensor(shape) - 1)
    nearest_last = (place - tile - 0.5).square().sum(dim=1).argsort(descending=True)
    pixels = images.shape[-1]
    canvas = torch.full((shape[1] * pixels, shape[0] * pixels, 3), _EMPTY)
    for index in nearest_last.tolist():
        column, row = (int(number) * pixels for number in tile[index])
        # vertically flipped, for the canvas grows upwards and an image downwards
        canvas[row : row + pixels, column : column + pixels] = _displayed(images[index]).flip(0)
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    axes.imshow(canvas.numpy(), extent=extent, origin="lower")
    for axis, draw_line in enumerate((axes.axvline, axes.axhline)):
        for edge in torch.linspace(float(low[axis]), float(high[axis]), shape[axis] + 1)[1:-1]:
            draw_line(float(edge), color=str(_EMPTY), linewidth=0.8)
    axes.set_aspect((extent[1] - extent[0]) / (extent[3] - extent[2]) * shape[1] / shape[0])
    axes.set_xlabel(measure_label(names[0], ends[0], inches=7))
    axes.set_ylabel(measure_label(names[1], ends[1], inches=7))
    filled = len(torch.unique(tile, dim=0))
    axes.set_title(
        f"{len(images):,} images in {filled} of {shape[0] * shape[1]} tiles", fontsize="medium"
    )
    return figure


def _limits(
    measures: Tensor, ranges: tuple[tuple[float, float], tuple[float, float]] | None
) -> tuple[Tensor, Tensor]:
    """Lowest and highest value along each axis, never the same."""
    if ranges is not None:
        low, high = torch.tensor(ranges).unbind(dim=1)
    else:
        low, high = measures.cpu().amin(dim=0), measures.cpu().amax(dim=0)
    return low, torch.where(high > low, high, low + 1)


def _displayed(image: Tensor) -> Tensor:
    """Channels last, float in [0, 1], on the CPU."""
    image = image.detach().cpu().permute(1, 2, 0)
    return image / 255 if image.dtype == torch.uint8 else image.float().clamp(0, 1)
