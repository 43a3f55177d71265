"""Images lie where their measures say, upright, the most central one of each tile in front."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.figure import Figure

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import elite_grid

NAMES = ("colour", "shape")
UNIT = ((0.0, 1.0), (0.0, 1.0))
RED, GREEN, BLUE = torch.eye(3)


def solid(*colours: torch.Tensor) -> torch.Tensor:
    return torch.stack(colours)[:, :, None, None].expand(-1, 3, 4, 4)


def canvas(figure: Figure) -> npt.NDArray[np.float64]:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_an_image_fills_its_tile_and_the_rest_is_grey() -> None:
    measures = torch.tensor([[0.1, 0.1], [0.9, 0.3]])
    figure = elite_grid(solid(RED, BLUE), measures, names=NAMES, ranges=UNIT, shape=(2, 4))
    tiles = canvas(figure)[::4, ::4]
    assert tiles.shape == (4, 2, 3)
    np.testing.assert_array_equal(tiles[0, 0], RED)
    np.testing.assert_array_equal(tiles[1, 1], BLUE)
    assert np.ptp(np.delete(tiles.reshape(8, 3), [0, 3], axis=0)) == 0
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == NAMES
    assert tuple(axes.images[0].get_extent()) == (0, 1, 0, 1)
    assert axes.get_title() == "2 images in 2 of 8 tiles"


def test_tiles_begin_where_the_ranges_do() -> None:
    """Each image in the middle of a tile of its own, of ranges that do not begin at zero."""
    measures = torch.tensor([[-2.5, 11.0], [-1.5, 15.0], [-0.5, 19.0]])
    ranges = ((-3.0, 0.0), (10.0, 20.0))
    figure = elite_grid(solid(RED, GREEN, BLUE), measures, names=NAMES, ranges=ranges, shape=(3, 5))
    tiles = canvas(figure)[::4, ::4]
    for place, colour in (((0, 0), RED), ((2, 1), GREEN), ((4, 2), BLUE)):
        np.testing.assert_array_equal(tiles[place], colour)
    (axes,) = figure.axes
    assert tuple(axes.images[0].get_extent()) == (-3, 0, 10, 20)
    # Lines part the tiles, which are square on the page whatever the ranges.
    assert [line.get_xdata()[0] for line in axes.lines[:2]] == pytest.approx([-2, -1])  # type: ignore[index]
    assert [line.get_ydata()[0] for line in axes.lines[2:]] == pytest.approx([12, 14, 16, 18])  # type: ignore[index]
    figure.draw_without_rendering()
    corners = axes.transData.transform([(-3, 10), (-2, 12)])
    width, height = corners[1] - corners[0]
    assert width == pytest.approx(height, rel=0.01)


def test_axes_say_what_their_ends_stand_for() -> None:
    figure = elite_grid(
        solid(RED), torch.zeros(1, 2), names=NAMES, ends=(("A red one.", "A blue one."), None)
    )
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("← red    colour    blue →", "shape")


def test_the_most_central_image_is_in_front() -> None:
    measures = torch.tensor([[0.1, 0.1], [0.26, 0.26], [0.4, 0.4]])
    figure = elite_grid(solid(RED, GREEN, BLUE), measures, names=NAMES, ranges=UNIT, shape=(2, 2))
    np.testing.assert_array_equal(canvas(figure)[0, 0], GREEN)


def test_images_are_upright() -> None:
    image = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    image[0, 0, 0] = 255  # the top row is red
    figure = elite_grid(image, torch.zeros(1, 2), names=NAMES, shape=(1, 1))
    np.testing.assert_array_equal(canvas(figure)[-1, 0], RED)  # rows grow upwards on the axes
    assert canvas(figure)[0].max() == 0
    assert figure.axes[0].images[0].origin == "lower"


def test_values_beyond_the_ranges_count_to_the_edge() -> None:
    measures = torch.tensor([[-5.0, 7.0]])
    figure = elite_grid(solid(RED), measures, names=NAMES, ranges=UNIT, shape=(3, 3))
    np.testing.assert_array_equal(canvas(figure)[-1, 0], RED)


@pytest.mark.parametrize(("images", "measures"), [(0, (0, 2)), (2, (2, 3)), (2, (1, 2))])
def test_what_does_not_fit_is_refused(images: int, measures: tuple[int, int]) -> None:
    with pytest.raises(QDGSError, match="at least one image and two measures"):
        elite_grid(torch.zeros(images, 3, 4, 4), torch.zeros(measures), names=NAMES)
