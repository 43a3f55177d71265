"""One resize for all stored images: against Pillow's, and the same in packing, testing, drawing."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from qdgs_lightning.datasets import load_verification_pairs, write_verification_bin
from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.datasets.records.packing import encode_jpeg, resized_jpeg
from qdgs_lightning.datasets.resizing import ResizingError, fit_square
from tests.datasets.pictures import BY_OTHERS, made


@pytest.mark.parametrize("name", ["large", "small", "tall"])
def test_resizing_is_the_antialiased_one_of_pillow(name: str) -> None:
    data = (BY_OTHERS / f"{name}.jpg").read_bytes()
    with Image.open(BytesIO(data)) as image:
        short = min(image.size)
        sides = 56 * image.width // short, 56 * image.height // short
        resized = np.asarray(image.resize(sides, Image.Resampling.BILINEAR))
    theirs = torch.from_numpy(resized.copy()).permute(2, 0, 1)
    top, left = (theirs.shape[1] - 56) // 2, (theirs.shape[2] - 56) // 2
    off = (fit_square(decode_rgb(data), 56).int() - theirs[:, top:, left:][:, :56, :56].int()).abs()
    assert off.max() <= 1


def test_a_network_is_tested_on_the_images_it_is_trained_on(tmp_path: Path) -> None:
    data = (BY_OTHERS / "large.jpg").read_bytes()
    write_verification_bin(tmp_path / "own.bin", [data, data], [True])
    tested = load_verification_pairs(tmp_path / "own.bin", image_size=32)[0][0]
    packed = resized_jpeg(data, size=32)
    assert packed == encode_jpeg(tested)
    drawn = F.interpolate(made("large.jpg")[None] / 255, 32, mode="bilinear", antialias=True)[0]
    assert (tested.int() - drawn.mul(255).round().int()).abs().max() <= 1


def test_the_middle_is_cut_out() -> None:
    image = torch.arange(60, dtype=torch.uint8).expand(3, 20, 60)
    cut = fit_square(image, 20)
    assert torch.equal(cut, image[:, :, 20:40])
    assert torch.equal(fit_square(image.mT, 20), cut.mT)


def test_of_an_odd_rest_the_pixel_more_is_cut_off_at_the_end() -> None:
    image = torch.arange(61, dtype=torch.uint8).expand(3, 20, 61)
    assert torch.equal(fit_square(image, 20), image[:, :, 20:40])
    assert torch.equal(fit_square(image.mT, 20), image[:, :, 20:40].mT)


def test_an_image_of_the_size_is_the_same() -> None:
    image = torch.zeros(3, 112, 112, dtype=torch.uint8)
    assert fit_square(image) is image


def test_strips_are_refused() -> None:
    with pytest.raises(ResizingError, match="100 x 20 pixels are no face"):
        fit_square(torch.zeros(3, 20, 100, dtype=torch.uint8))
    with pytest.raises(ResizingError, match="20 x 81 pixels"):
        fit_square(torch.zeros(3, 81, 20, dtype=torch.uint8))
    assert fit_square(torch.zeros(3, 80, 20, dtype=torch.uint8), 10).shape == (3, 10, 10)
