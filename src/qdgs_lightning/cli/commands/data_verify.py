"""``qdgs data verify``; its imports wait for the call, so that help is quick."""

from pathlib import Path


def data_verify(*, path: Path, workers: int | None = None, report: Path | None = None) -> None:
    """Decode every image of a training set or a benchmark, and name all that is damaged.

    Nothing is changed. What cannot be seen are bits that flipped within a JPEG file so that it
    still decodes. Ctrl-C ends it early and tells what was found until then.

    Args:
        path: A .rec file; the folder of one, whose benchmarks are looked at as well; a folder with
            one folder for each identity; or a .bin file or other benchmark of pairs.
        workers: Processes that decode; with 0 this one does. Where left out, as many as there are
            cores, or fewer for small sets.
        report: A text file that gets every problem, one on each line; the screen gets the first 20.

    Raises:
        DataError: Something is damaged, so that the command ends with a non-zero status.
        QDGSError: The set cannot be opened at all.
        OSError: The report cannot be written.
    """
    from qdgs_lightning.datasets.verify import verify_sets

    verify_sets(path=path, workers=workers, report=report)
