"""Alterations of training images, against torchvision's and torch's own, image by image."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

from qdgs_lightning.datamodules import DataModuleError, FaceAugmentation

NEVER = {"flip": 0.0, "crop": 0.0, "low_resolution": 0.0, "photometric": 0.0}
METHODS = ("nearest", "bilinear", "area", "bicubic")


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, side: int = 16) -> Tensor:
    return torch.rand(n, 3, side, side, generator=random(7))


@pytest.mark.parametrize("name", ["flip", "crop", "low_resolution", "photometric"])
def test_each_is_done_as_often_as_asked(name: str) -> None:
    images = pictures(4000, side=8) * 0.5 + 0.25
    altered = FaceAugmentation(**{**NEVER, name: 0.3})(images, generator=random())
    share = float((altered != images).flatten(1).any(1).float().mean())
    # A crop of the whole image changes nothing, neither does resampling to the size it had.
    assert (0.22 if name in ("crop", "low_resolution") else 0.275) < share < 0.325


def test_never_means_that_nothing_changes_and_input_is_left_alone() -> None:
    images = pictures(20)
    kept = images.clone()
    assert torch.equal(FaceAugmentation(**NEVER)(images, generator=random()), images)
    FaceAugmentation()(images, generator=random())
    assert torch.equal(images, kept)


def test_an_image_has_draws_of_its_own() -> None:
    images = pictures(1).expand(30, -1, -1, -1)
    altered = FaceAugmentation(flip=0, crop=1, low_resolution=1, photometric=1)(
        images, generator=random()
    )
    assert len(altered.flatten(1).unique(dim=0)) == 30


def test_equal_draws_give_equal_images_whatever_batch_they_come_in() -> None:
    images, augmentation = pictures(64), FaceAugmentation()
    once = augmentation(images, generator=random())
    assert torch.equal(once, augmentation(images, generator=random()))
    assert not torch.equal(once, augmentation(images, generator=random(1)))
    # The first images of a larger batch get the same numbers.
    torch.testing.assert_close(augmentation(images[:9], generator=random()), once[:9])


def test_mirrored_images_are_torchvisions() -> None:
    images = pictures(5)
    altered = FaceAugmentation(**{**NEVER, "flip": 1.0})(images, generator=random())
    assert torch.equal(altered, tv.horizontal_flip(images))


def test_crops_keep_a_box_where_it_was_and_its_area_and_ratio_in_range() -> None:
    images = torch.ones(3000, 3, 112, 112)
    boxes = FaceAugmentation(**{**NEVER, "crop": 1.0})(images, generator=random())[:, 0]
    heights, widths = boxes.amax(2).sum(1), boxes.amax(1).sum(1)
    assert torch.equal(boxes.sum((1, 2)), heights * widths)  # full rectangles
    area, ratio = heights * widths / 112**2, widths / heights
    assert 0.19 < float(area.min()) < 0.21
    assert float(area.max()) > 0.97
    # Boxes wider than the image end at its border.
    inside = (heights < 112) & (widths < 112)
    assert 0.74 < float(ratio[inside].min()) < 0.78
    assert 1.29 < float(ratio[inside].max()) < 1.35
    tops, lefts = boxes.amax(2).argmax(1), boxes.amax(1).argmax(1)
    for place, extent in ((tops, heights), (lefts, widths)):
        share = (place / (112 - extent).clamp(min=1))[extent < 100]
        assert abs(float(share.mean()) - 0.5) < 0.02  # anywhere, each place as often


def test_boxes_lie_at_either_border_as_often() -> None:
    boxes = FaceAugmentation(**{**NEVER, "crop": 1.0})(
        torch.ones(9000, 3, 8, 8), generator=random()
    )[:, 0]
    for heights, tops in (
        (boxes.amax(2).sum(1), boxes.amax(2).argmax(1)),
        (boxes.amax(1).sum(1), boxes.amax(1).argmax(1)),
    ):
        for extent in (4, 6, 7):
            often = tops[heights == extent].bincount(minlength=9 - extent)
            assert len(often) == 9 - extent
            expected = often.sum() / len(often)
            assert (often - expected).abs().max() < 5 * expected.sqrt()


def test_low_resolution_is_one_of_torchs_interpolations_down_and_up() -> None:
    images = pictures(60, side=20)
    altered = FaceAugmentation(**{**NEVER, "low_resolution": 1.0})(images, generator=random())
    used = set()
    for image, result in zip(images, altered, strict=True):
        matches = {
            (size, down, up)
            for size in range(4, 21)
            for down in METHODS
            for up in METHODS
            if torch.allclose(twice(image, size, down, up), result, atol=1e-5)
        }
        assert matches
        used.update(matches)
    assert {size for size, _, _ in used} >= {4, 10, 19}
    assert {down for _, down, _ in used} == {up for _, _, up in used} == set(METHODS)


def twice(image: Tensor, size: int, down: str, up: str) -> Tensor:
    return resample(resample(image, size, down), 20, up).clamp(0, 1)


def resample(image: Tensor, size: int, method: str) -> Tensor:
    options = {} if method in ("nearest", "area") else {"align_corners": False}
    return F.interpolate(image[None], (size, size), mode=method, **options)[0]


def test_colours_change_as_torchvision_changes_them_in_any_order() -> None:
    images = pictures(40, side=6)
    augmentation = FaceAugmentation(**{**NEVER, "photometric": 1.0})
    altered = augmentation(images, generator=random())
    draws = torch.rand(40, 15, generator=random())[:, 4:]  # as the class documents them
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    change = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    for image, result, draw in zip(images, altered, draws, strict=True):
        expected = image
        for index in orders[int(draw[10] * 6)]:
            expected = change[index](expected, float(0.5 + draw[7 + index]))
        torch.testing.assert_close(result, expected, atol=2e-4, rtol=0)  # its luma has four digits


def test_half_precision_stays_in_range() -> None:
    images = pictures(30).to(torch.bfloat16)
    altered = FaceAugmentation(flip=1, crop=1, low_resolution=1, photometric=1)(
        images, generator=random()
    )
    assert altered.dtype == torch.bfloat16
    assert 0 <= float(altered.min()) <= float(altered.max()) <= 1


def test_probabilities_out_of_range_are_refused() -> None:
    with pytest.raises(DataModuleError, match=r"probability crop is 1\.2"):
        FaceAugmentation(crop=1.2)
