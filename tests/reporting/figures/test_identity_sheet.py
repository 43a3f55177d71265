"""Every image of a sheet stands where its identity, latent and edit say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import identity_sheet


def coloured(*values: int) -> Tensor:
    """Images of 8 x 8 pixels, each of one grey value."""
    grey = torch.tensor(values, dtype=torch.uint8)[:, None, None, None]
    return grey.expand(-1, 3, 8, 8).clone()


def test_rows_are_identities_and_gaps_divide_latents() -> None:
    first, second = coloured(10, 20, 30, 40), coloured(50, 60)
    second[0, :, 0] = 255  # the upper edge
    second[0, 0, 7] = 200  # red in the lower one
    figure = identity_sheet(
        [first, coloured(), second.float() / 255],
        titles=["dark\nidentity 3", "light\nnone", "mixed\nidentity 8"],
        edits=2,
        heading="2 of 9 identities",
    )
    (axes,) = figure.axes
    (shown,) = axes.images
    canvas = np.asarray(shown.get_array())
    assert canvas.shape == (3 * 8 + 2 * 1, 4 * 8 + 2, 3)
    bytes_of = np.rint(255 * canvas).astype(int)
    # An image is 8 wide, the gap between two latents 2 and that between two rows 1.
    for x, value in ((0, 10), (8, 20), (18, 30), (26, 40)):
        assert (bytes_of[:8, x : x + 8] == value).all()
    assert (bytes_of[:8, 16:18] == 255).all()
    assert (bytes_of[8] == 255).all()
    assert (bytes_of[9:17] == round(0.92 * 255)).all()  # none
    assert (bytes_of[18, :8] == 255).all()
    assert (bytes_of[25, :8] == (200, 50, 50)).all()
    assert (bytes_of[18:26, 8:16] == 60).all()
    assert (bytes_of[18:26, 16:] == 255).all()  # this identity has one latent
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "dark\nidentity 3",
        "light\nnone",
        "mixed\nidentity 8",
    ]
    assert axes.get_yticks().tolist() == [4, 13, 22]
    assert [text.get_text() for text in axes.get_xticklabels()] == [
        "latent 1, edits 1 to 2",
        "latent 2, edits 1 to 2",
    ]
    assert axes.get_xticks().tolist() == [8, 26]
    assert axes.get_title(loc="left") == "2 of 9 identities"


def test_an_image_is_saved_with_its_own_pixels(tmp_path: Path) -> None:
    noise = torch.randint(256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    path = tmp_path / "sheet.png"
    identity_sheet([noise.byte()], titles=["dark"]).savefig(path)
    saved = np.asarray(Image.open(path).convert("RGB"))
    wanted = noise[0].permute(1, 2, 0).numpy()
    places = {
        (x, y)
        for x in range(saved.shape[1] - 63)
        for y in range(saved.shape[0] - 63)
        if (saved[y, x] == wanted[0, 0]).all() and (saved[y : y + 64, x : x + 64] == wanted).all()
    }
    assert len(places) == 1


def test_a_last_latent_that_is_cut_off_says_so() -> None:
    labels = {
        edits: [text.get_text() for text in figure.axes[0].get_xticklabels()]
        for edits in (1, 3, 5)
        if (figure := identity_sheet([coloured(1, 2, 3, 4)], titles=["all"], edits=edits))
    }
    assert labels == {
        1: ["latent 1", "2", "3", "4"],
        3: ["latent 1, edits 1 to 3", "latent 2"],
        5: ["latent 1, edits 1 to 4"],
    }


@pytest.mark.parametrize(
    ("images", "titles", "edits"),
    [
        ([], [], 1),
        ([coloured()], ["none"], 1),
        ([coloured(1)], ["a", "b"], 1),
        ([coloured(1)], ["a"], 0),
        ([coloured(1), torch.zeros(1, 3, 4, 4)], ["a", "b"], 1),
    ],
)
def test_what_makes_no_sheet_is_refused(
    images: list[Tensor], titles: list[str], edits: int
) -> None:
    with pytest.raises(QDGSError, match="make no sheet"):
        identity_sheet(images, titles=titles, edits=edits)
