"""The image files of a benchmark, as they are kept."""

from pathlib import Path

from qdgs_lightning.datasets import VerificationDataError, VerificationPairs
from qdgs_lightning.datasets.record_packing import encode_jpeg
from qdgs_lightning.datasets.verification_bin import BinImages, _bytes, _mapped
from qdgs_lightning.datasets.verification_set import ImageFiles


def image_file(pairs: VerificationPairs, row: int) -> bytes:
    """Return the file of an image of a benchmark.

    Args:
        pairs: The benchmark.
        row: Which image.

    Returns:
        Its bytes as they are kept; a new JPEG file where a benchmark aligns its images first.

    Raises:
        VerificationDataError: It cannot be read.
    """
    source = pairs._source
    if isinstance(source, BinImages):
        if source._data is None:
            source._data = _mapped(source._path)
        return _bytes(source._data, source._payloads[row])
    if isinstance(source, ImageFiles) and source._landmarks is None:
        try:
            return Path(source.describe(row)).read_bytes()
        except OSError as error:
            raise VerificationDataError(f"it cannot be read: {error.strerror}") from error
    return encode_jpeg(pairs[row][0])


def image_place(pairs: VerificationPairs, row: int) -> str:
    """Say where an image of a benchmark is."""
    return f"image {pairs._source.describe(row)}"
