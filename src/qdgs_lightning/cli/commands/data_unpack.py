"""``qdgs data unpack``; its imports wait for the call, so that help is quick."""

from pathlib import Path


def data_unpack(*, source: Path, output: Path) -> None:
    """Make folders of images out of a .rec file, or images and a list of pairs out of a .bin file.

    Every image file is copied byte by byte. Out of a .rec file comes one folder for each identity,
    named by its number, with images named by their keys; `qdgs data pack` makes the same set of
    it. Out of a .bin file come numbered images and pairs.txt.

    Args:
        source: A .rec file or the folder of one, or a .bin file.
        output: The new folder. An interruption leaves none.

    Raises:
        DataError: The output is there already, or the source is of another kind.
        QDGSError: The source is damaged; the sentence names the record.
    """
    from qdgs_lightning.datasets.unpack import unpack_set

    unpack_set(source=source, output=output)
