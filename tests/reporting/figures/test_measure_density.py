"""Densities lie where the measures are, in the same axes and shades for every set."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import measure_density
from qdgs_lightning.search.archive import Archive, ArchiveMetadata

NAMES = ("skin", "age", "hair")


def _mesh(axes: Axes) -> QuadMesh:
    (mesh,) = (each for each in axes.collections if isinstance(each, QuadMesh))
    return mesh


def _shown(drawn: ScalarMappable, empty: float) -> npt.NDArray[np.float64]:
    """What is drawn, and `empty` where nothing is."""
    values = drawn.get_array()
    assert values is not None
    return np.ma.filled(values, empty)


def _archive() -> Archive:
    return Archive(
        latents=torch.zeros(2, 1),
        objective=torch.tensor([1.0, 7.0]),
        measures=torch.zeros(2, 2),
        cell=torch.tensor([0, 5]).int(),
        metadata=ArchiveMetadata(
            guidance={},
            measure_names=("age", "skin"),
            generator="none",
            latent_shape=(1,),
            grid=(2, 3),
            ranges=((-2.0, 2.0), (0.0, 9.0)),
            algorithm="random",
            seed=0,
            evaluations=2,
            versions={},
        ),
    )


def test_sets_share_axes_and_shades_and_add_up() -> None:
    one = torch.tensor([[0.0, 0, 0], [4, 1, 1]])
    two = torch.tensor([[4.0, 0, 1], [1, 0.5, 0.5], [2, 1, 0]])
    figure = measure_density(
        {"real": one, "qd": two},
        names=NAMES,
        weights={"real": torch.tensor([1.0, 3.0])},
        cuts={"skin": [float("-inf"), 2.5, float("inf")]},
    )
    panels = [axes for axes in figure.axes if axes.get_xlabel() in NAMES]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in panels[::2]] == [
        ("skin", "age"),
        ("skin", "hair"),
        ("age", "hair"),
    ]
    for left, right in zip(panels[::2], panels[1::2], strict=True):
        assert left.get_xlim() == right.get_xlim()
        assert left.get_ylim() == right.get_ylim()
        assert _mesh(left).norm is _mesh(right).norm
    shares = _shown(_mesh(panels[0]), 0)
    assert (shares[0, 0], shares[-1, -1], shares.sum()) == pytest.approx((25, 75, 100))
    other = _shown(_mesh(panels[1]), 0)
    assert other[0, -1] == pytest.approx(100 / 3)  # rows are the second measure
    assert "2 images" in panels[0].get_title()
    assert panels[0].lines[1].get_xdata()[0] == 2.5  # type: ignore[index]


def test_an_archive_stands_beside_its_set_in_the_same_axes() -> None:
    measures = {"prior": torch.rand(5, 3), "elites": torch.rand(5, 3)}
    figure = measure_density(measures, names=NAMES, archives={"elites": _archive()})
    panels = [axes for axes in figure.axes if axes.get_xlabel() in NAMES]
    assert [axes.get_title() for axes in panels[:3]] == [
        "prior: 5 images",
        "elites: 5 images",
        "elites: elites",
    ]
    assert all(axes.get_xlim() == (0, 9) and axes.get_ylim() == (-2, 2) for axes in panels[:3])
    (image,) = panels[2].images
    assert tuple(image.get_extent()) == (0, 9, -2, 2)
    expected = [[1, np.nan, np.nan], [np.nan, np.nan, 7]]
    np.testing.assert_array_equal(_shown(image, np.nan), expected)
    assert not panels[5].images  # the archive has no hair


def test_axes_and_shades_say_what_they_are() -> None:
    figure = measure_density(
        {"prior": torch.rand(200, 3)},
        names=NAMES,
        ends={"skin": ("A person with dark skin.", "A person with light skin.")},
    )
    figure.draw_without_rendering()
    first, second, third, bar, *_ = figure.axes
    assert first.get_xlabel() == second.get_xlabel() == "← dark    skin    light →"
    assert (first.get_ylabel(), third.get_ylabel()) == ("age", "hair")
    assert bar.get_ylabel() == "share of the images per tile"
    shown = [label.get_text() for label in bar.get_yticklabels()]
    assert "1%" in shown  # two of 200 images
    assert all(text.endswith("%") for text in shown)
    assert not bar.yaxis.get_minorticklocs().size


@pytest.mark.parametrize(
    ("measures", "names"),
    [({}, NAMES), ({"a": torch.zeros(0, 3)}, NAMES), ({"a": torch.zeros(4, 1)}, ("skin",))],
)
def test_nothing_to_draw_is_refused(
    measures: dict[str, torch.Tensor], names: tuple[str, ...]
) -> None:
    with pytest.raises(QDGSError, match="have no density over pairs"):
        measure_density(measures, names=names)
