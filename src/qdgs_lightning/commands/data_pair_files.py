"""The image files of a benchmark."""

from qdgs_lightning.datasets import VerificationPairs
from qdgs_lightning.datasets.record_packing import encode_jpeg


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
    kept = pairs.encoded(row)
    return encode_jpeg(pairs[row][0]) if kept is None else kept


def image_place(pairs: VerificationPairs, row: int) -> str:
    """Say where an image of a benchmark is."""
    return f"image {pairs.describe(row)}"
