"""What the beginning of an image file says, without decoding it."""

from io import BytesIO
from typing import NamedTuple

from PIL import Image

from qdgs_lightning.datasets.image_decoding import ImageDecodingError

_SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "BMP": ".bmp",
    "WEBP": ".webp",
    "PPM": ".ppm",
    "TIFF": ".tif",
}
_COLOURS = {"1": "black and white", "L": "grey", "LA": "grey", "P": "palette", "PA": "palette"}


class ImageHeader(NamedTuple):
    """Format and size of an image file.

    Attributes:
        format: As of `FORMATS` of `image_decoding`.
        mode: How pixels are kept, as Pillow names it: RGB, L, CMYK and others.
        height: In pixels.
        width: In pixels.
    """

    format: str
    mode: str
    height: int
    width: int

    @property
    def suffix(self) -> str:
        """What the name of such a file ends in, with the dot."""
        return _SUFFIXES[self.format]

    @property
    def colours(self) -> str:
        """What pixels are, in words: RGB, grey, CMYK and others."""
        return _COLOURS.get(self.mode, self.mode)


def image_header(data: bytes) -> ImageHeader:
    """Read what an image file says of itself, in a fifth of the time that decoding takes.

    Args:
        data: The file's contents.

    Raises:
        ImageDecodingError: It is empty or of another format; damage further back stays unseen.
    """
    try:
        with Image.open(BytesIO(data), formats=tuple(_SUFFIXES)) as image:
            return ImageHeader(str(image.format), image.mode, image.height, image.width)
    # Pillow's readers raise anything when they are given nonsense, SyntaxError too.
    except Exception as error:
        raise ImageDecodingError(
            f"{len(data)} bytes are none of {', '.join(_SUFFIXES)}."
        ) from error
