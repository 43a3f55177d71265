"""Tell the kinds of data sets apart that the commands ``qdgs data ...`` take."""

from enum import Enum
from pathlib import Path

from qdgs_lightning.datasets.folder_walk import visible
from qdgs_lightning.datasets.image_folder import find_records
from qdgs_lightning.utils.console import DataError


class Kind(Enum):
    """What lies at a path."""

    RECORDS = "a RecordIO file"
    FOLDER = "a folder of identities"
    PAIRS = "a benchmark of pairs"


def find_kind(path: Path) -> tuple[Kind, Path]:
    """Tell what lies at a path.

    Args:
        path: A .rec file or the folder of one, a .bin file or a folder with pairs, or a folder of
            identities.

    Returns:
        The kind, and the path; that of the file itself where a folder holds one .rec file.

    Raises:
        DataError: It is none of these.
        FaceFolderError: It holds several .rec files.
    """
    if not path.exists():
        raise DataError(f"{path.absolute()} is not there; name a .rec or .bin file, or a folder.")
    if path.is_file():
        kinds = {".rec": Kind.RECORDS, ".bin": Kind.PAIRS}
        if path.suffix not in kinds:
            raise DataError(f"{path} is of no known kind; name a .rec or .bin file, or a folder.")
        return kinds[path.suffix], path
    if (records := find_records(path)) is not None:
        return Kind.RECORDS, records
    if _has_pairs(path):
        return Kind.PAIRS, path
    bins = [file.name for file in visible(path, "*.bin")]
    if bins:
        raise DataError(f"{path} holds {', '.join(bins)}; name one of them.")
    return Kind.FOLDER, path


def find_sets(path: Path) -> list[tuple[Kind, Path]]:
    """List what lies at a path, and beside the .rec file of a folder the benchmarks in it.

    Args:
        path: As for `find_kind`.

    Returns:
        The kind and the path of each; benchmarks are sorted.

    Raises:
        QDGSError: As `find_kind` does.
    """
    kind, found = find_kind(path)
    if kind is not Kind.RECORDS or found == path:
        return [(kind, found)]
    folders = (folder for folder in visible(path) if folder.is_dir() and _has_pairs(folder))
    return [
        (kind, found),
        *((Kind.PAIRS, each) for each in sorted([*visible(path, "*.bin"), *folders])),
    ]


def _has_pairs(folder: Path) -> bool:
    """Tell whether a folder is a benchmark of pairs."""
    lists = (*visible(folder, "*pair*.txt"), *visible(folder, "*pair*.csv"))
    return bool(lists) or (folder / "Protocol").is_dir()
