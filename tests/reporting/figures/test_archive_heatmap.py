"""The heatmap shows each cell's objective at the cell's place."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.image import AxesImage

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import archive_heatmap
from qdgs_lightning.search.archive import Archive, ArchiveMetadata


@pytest.fixture
def archive() -> Archive:
    """Three elites in a grid of 4 x 3 x 2 cells; the last two differ in the third measure alone."""
    index = torch.tensor([[0, 2, 0], [3, 1, 0], [3, 1, 1]])
    return Archive(
        latents=torch.zeros(3, 5),
        objective=torch.tensor([1.0, 2.0, 7.0]),
        measures=torch.zeros(3, 3),
        cell=(index * torch.tensor([6, 2, 1])).sum(dim=1).int(),
        metadata=ArchiveMetadata(
            guidance={},
            measure_names=("hair", "age", "skin"),
            generator="none",
            latent_shape=(5,),
            grid=(4, 3, 2),
            ranges=((0.0, 8.0), (-1.0, 2.0), (0.0, 1.0)),
            algorithm="random",
            seed=0,
            evaluations=3,
            versions={},
        ),
    )


def shown(image: AxesImage) -> npt.NDArray[np.float32]:
    """What an image shows, NaN where it shows nothing."""
    values = image.get_array()
    assert values is not None
    return np.ma.filled(values, np.nan)


def test_cells_lie_where_their_measures_say(archive: Archive) -> None:
    axes, colour_bar = archive_heatmap(archive).axes
    (image,) = axes.images
    expected = np.full((3, 4), np.nan)
    expected[2, 0], expected[1, 3] = 1, 7
    np.testing.assert_array_equal(shown(image), expected)
    assert tuple(image.get_extent()) == (0.0, 8.0, -1.0, 2.0)
    assert (image.origin, axes.get_xlabel(), axes.get_ylabel()) == ("lower", "hair", "age")
    assert "objective" in colour_bar.get_ylabel()
    assert axes.get_title().startswith(
        "3 elites in 16.7% of these cells (12.5% of all), QD-score 10"
    )


def test_axes_say_what_their_ends_stand_for(archive: Archive) -> None:
    sentences = (("Long hair.", "Short hair."), None, ("Dark skin.", "Light skin."))
    metadata = replace(archive.metadata, measure_ends=sentences)
    axes = archive_heatmap(replace(archive, metadata=metadata), measures=(2, 1)).axes[0]
    assert axes.get_xlabel() == "← Dark    skin    Light →"
    assert axes.get_ylabel() == "age"


def test_other_measures_can_be_chosen(archive: Archive) -> None:
    axes = archive_heatmap(archive, measures=(2, 0)).axes[0]
    expected = [[1, np.nan], [np.nan] * 2, [np.nan] * 2, [2, 7]]
    np.testing.assert_array_equal(shown(axes.images[0]), expected)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("skin", "hair")


@pytest.mark.parametrize("measures", [(0, 3), (1, 1), (-1, 0)])
def test_unknown_measures_are_refused(archive: Archive, measures: tuple[int, int]) -> None:
    with pytest.raises(QDGSError, match=r"hair, age, skin.* indices below 3"):
        archive_heatmap(archive, measures=measures)
