"""The verification sets of face recognition, wherever they are kept."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from qdgs_lightning.datasets.verification.load import load_verification_pairs
from qdgs_lightning.datasets.verification.pairs import VerificationPairs
from qdgs_lightning.datasets.verification.rfw import RACES, find_rfw

BENCHMARKS = ("lfw", "cfp_fp", "cplfw", "calfw", "agedb_30")

_RFW = {f"rfw_{race.lower()}": race for race in RACES}


def load_benchmarks(
    root: str | Path, names: Sequence[str] = BENCHMARKS, *, image_size: int = 112
) -> dict[str, VerificationPairs]:
    """Load those of some verification sets that are there.

    Each is looked for as ``ROOT/NAME.bin`` and as a folder ``ROOT/NAME`` with a list of pairs; the
    folders ``NAME/memfile`` that AdaFace makes of them are named and left out.
    ``rfw`` stands for ``rfw_african``, ``rfw_asian``, ``rfw_caucasian`` and ``rfw_indian``; those
    are also looked for as `load_rfw` does, in ``ROOT/rfw``, ``ROOT/RFW`` and ``ROOT``.

    Args:
        root: The folder of all of them, such as that of a training set of insightface.
        names: Which; other names than the known are those of own sets.
        image_size: Side of the images.

    Returns:
        The sets that are there, in the order of the names. One warning names those that are not.

    Raises:
        VerificationDataError: A set is there and is damaged, unsafe or incomplete.

    Example:
        >>> sets = load_benchmarks("faces_webface_112x112", ["lfw", "agedb_30", "rfw"])
    """
    root = Path(root)
    sets, absent = {}, []
    for name in spelt_out(names):
        found = _find(root, name, image_size=image_size)
        if found is None:
            absent.append(name)
        else:
            sets[name] = found
    for name in absent:
        if (memfile := root / name / "memfile").is_dir():
            warnings.warn(
                f"{memfile} is a copy that AdaFace's convert.py made and is not read; bring the "
                f"{name}.bin of which it was made.",
                stacklevel=2,
            )
    if absent:
        expected = ", ".join(str(root.absolute() / f"{name}.bin") for name in absent)
        warnings.warn(
            f"These verification sets are left out, since there is no {expected}, nor folders of "
            "these names.",
            stacklevel=2,
        )
    return sets


def spelt_out(names: Sequence[str]) -> list[str]:
    """Name the four sets of ``rfw`` in its place, and the others as they are."""
    return [part for name in names for part in (_RFW if name == "rfw" else (name,))]


def _find(root: Path, name: str, *, image_size: int) -> VerificationPairs | None:
    """Load a set, or return None where it is absent."""
    for path in (root / f"{name}.bin", root / name):
        if path.exists() and not (path / "memfile").is_dir():
            return load_verification_pairs(path, name=name, image_size=image_size)
    if name in _RFW:
        for folder in (root / "rfw", root / "RFW", root):
            found = find_rfw(folder, _RFW[name], image_size=image_size)
            if found is not None:
                return found
    return None
