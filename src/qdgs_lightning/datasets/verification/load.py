"""Verification sets of any kind: pairs of face images, of one person or of two."""

from pathlib import Path

from qdgs_lightning.datasets.verification.folder import read_verification_folder
from qdgs_lightning.datasets.verification.insightface_bin import read_verification_bin
from qdgs_lightning.datasets.verification.pairs import VerificationDataError, VerificationPairs

__all__ = ["VerificationDataError", "VerificationPairs", "load_verification_pairs"]


def load_verification_pairs(
    path: str | Path,
    *,
    pairs: str | Path | None = None,
    name: str | None = None,
    image_size: int = 112,
) -> VerificationPairs:
    """Load a verification set from a ``.bin`` file or a folder of aligned images.

    Args:
        path: The file, as insightface makes them; or the folder.
        pairs: The list of pairs of a folder, in the format of LFW, AgeDB-30, CALFW, CPLFW or CFP;
            see `read_verification_folder` for where it is looked for otherwise.
        name: Of the set; None takes that of the file or folder.
        image_size: Side of the images.

    Raises:
        VerificationDataError: Nothing is there, or it is damaged, unsafe or incomplete.

    Example:
        >>> lfw = load_verification_pairs("faces_webface_112x112/lfw.bin")
        >>> agedb = load_verification_pairs("agedb_30", pairs="agedb_30_pair.txt")
    """
    path = Path(path)
    if path.is_dir():
        return read_verification_folder(path, pairs=pairs, name=name, image_size=image_size)
    if not path.exists():
        raise VerificationDataError(
            f"There is no {path.absolute()}; give a .bin file or a folder of images."
        )
    if pairs is not None:
        raise VerificationDataError(
            f"{path} is a file and has its pairs in it; leave out {pairs}, or give a folder."
        )
    return read_verification_bin(path, name=name, image_size=image_size)
