"""Small images for tests of files, and what other programs made of some."""

from io import BytesIO
from pathlib import Path

from PIL import Image
from torch import Tensor

from qdgs_lightning.datasets.image_decoding import decode_rgb

BY_OTHERS = Path(__file__).parents[1] / "data" / "verification_sets"


def encoded(
    colour: tuple[int, int, int], *, size: tuple[int, int] = (112, 112), kind: str = "JPEG"
) -> bytes:
    """Return an image file of one colour, width before height."""
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, kind, quality=95)
    return file.getvalue()


def made(name: str) -> Tensor:
    """Return an image that another program made."""
    return decode_rgb((BY_OTHERS / name).read_bytes())


def write_image(path: Path, colour: tuple[int, int, int]) -> None:
    """Write an image of one colour, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(colour))
