"""Tell the kinds of data sets apart that the commands ``qdgs data ...`` take."""

from enum import Enum
from pathlib import Path

from qdgs_lightning.commands.data_common import DataError
from qdgs_lightning.datasets.image_folder import find_records


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
        raise DataError(f"{path} is not there; name a .rec or .bin file, or a folder.")
    if path.is_file():
        kinds = {".rec": Kind.RECORDS, ".bin": Kind.PAIRS}
        if path.suffix not in kinds:
            raise DataError(f"{path} is of no known kind; name a .rec or .bin file, or a folder.")
        return kinds[path.suffix], path
    if (records := find_records(path)) is not None:
        return Kind.RECORDS, records
    if any(path.glob("*pair*.txt")) or (path / "Protocol").is_dir():
        return Kind.PAIRS, path
    bins = sorted(file.name for file in path.glob("*.bin"))
    if bins:
        raise DataError(f"{path} holds {', '.join(bins)}; name one of them.")
    return Kind.FOLDER, path
