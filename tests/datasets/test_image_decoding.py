"""Image files of several kinds, and files that only claim to be images."""

import random
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from qdgs_lightning.datasets.image_decoding import FORMATS, ImageDecodingError, decode_rgb
from tests.datasets.pictures import encoded

RED = (200, 30, 60)


def saved(image: Image.Image, kind: str) -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def claiming(width: int, height: int) -> bytes:
    """Return a PNG file of a few bytes that claims to be large."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", FORMATS)
def test_channels_are_red_green_blue(kind: str) -> None:
    image = decode_rgb(encoded(RED, size=(20, 10), kind=kind))
    assert image.dtype == torch.uint8
    assert image.shape == (3, 10, 20)
    means = image.float().mean(dim=(1, 2))
    torch.testing.assert_close(means, torch.tensor(RED).float(), atol=3, rtol=0)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG")],
)
def test_other_kinds_of_pixels_become_rgb(mode: str, kind: str) -> None:
    image = Image.new("RGB", (16, 16), RED)
    decoded = decode_rgb(saved(image.convert(mode), kind)).float().mean(dim=(1, 2))
    grey = 0.299 * RED[0] + 0.587 * RED[1] + 0.114 * RED[2]
    expected = torch.tensor([grey] * 3 if mode in ("L", "LA") else RED).float()
    torch.testing.assert_close(decoded, expected, atol=2, rtol=0)


@pytest.mark.parametrize("end", [0, 1, 2, 20, 300, -200])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_files(kind: str, end: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(ImageDecodingError, match="cannot be decoded as an image"):
        decode_rgb(data[:end])


def test_what_is_no_image_is_named_without_addresses_of_memory() -> None:
    for data in (b"no image", saved(Image.new("RGB", (4, 4)), "GIF")):
        with pytest.raises(
            ImageDecodingError, match=r"\(none of JPEG, PNG, BMP, WEBP, PPM, TIFF\)"
        ):
            decode_rgb(data)


def test_deep_pixels_are_refused_rather_than_cut_off() -> None:
    deep = Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16))
    with pytest.raises(ImageDecodingError, match="not of 8 bits"):
        decode_rgb(saved(deep, "PNG"))


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (5000, 5000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_sizes_that_a_file_makes_up(size: tuple[int, int]) -> None:
    with pytest.raises(ImageDecodingError):
        decode_rgb(claiming(*size))


def test_images_beyond_any_camera_s_are_not_decoded() -> None:
    with pytest.raises(ImageDecodingError, match="it has 6000 x 6000 pixels"):
        decode_rgb(claiming(6000, 6000))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_flips_of_single_bytes_end_in_an_image_or_in_an_error() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    rng, refused = random.Random(0), 0
    for kind in FORMATS:
        data = saved(Image.fromarray(noise), kind)
        for _ in range(500):
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] ^= rng.randrange(1, 256)
            try:
                assert decode_rgb(bytes(damaged)).dtype == torch.uint8
            except ImageDecodingError:
                refused += 1
    assert 500 < refused < 1500
