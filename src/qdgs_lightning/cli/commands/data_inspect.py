"""``qdgs data inspect``; its imports wait for the call, so that help is quick."""

from pathlib import Path


def data_inspect(*, path: Path, sample: int = 1000) -> None:
    """Say what a training set or a benchmark holds: counts, sizes, layout and colours.

    Skin reflects more red than blue, so that red is the brightest channel in the mean of any
    ordinary set of faces (by 40 of 255 steps over blue in VGGFace2). A warning is given where blue
    exceeds red by more than 5: most likely the images were saved with their channels swapped. It
    says nothing of single images, cannot tell in grey ones or under coloured light, and no
    warning is no proof. Nor does it know what a model expects: that is RGB throughout this
    package, whatever the file's makers fed to theirs.

    Args:
        path: A .rec file or the folder of one, a folder with one folder for each identity, or a
            .bin file or other benchmark of pairs.
        sample: How many images, evenly spaced over the set, to decode for sizes and colours.

    Raises:
        DataError: The sample is empty, or there is no such set.
        QDGSError: The set is damaged; `qdgs data verify` lists all that is.
    """
    from qdgs_lightning.datasets.summary import print_summary

    print_summary(path=path, sample=sample)
