"""Racial Faces in the Wild: four verification sets, one for each group, aligned as they are read.

The images are loose crops of faces, with five landmarks each (Wang et al., ICCV 2019)::

    data/African/m.0abc/m.0abc_0001.jpg
    txts/African/African_pairs.txt       as in LFW, without a first line
    txts/African/African_lmk.txt         path, a number, and x and y of five landmarks

The same four are handed round as ``African_test.bin`` and so on. Pairs of two people are of one
group always, so that thresholds can be compared between groups.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from qdgs_lightning.datasets.verification.folder import located
from qdgs_lightning.datasets.verification.insightface_bin import read_verification_bin
from qdgs_lightning.datasets.verification.pair_people import find_people
from qdgs_lightning.datasets.verification.pairs import (
    ImageFiles,
    VerificationDataError,
    VerificationPairs,
)
from qdgs_lightning.datasets.verification.pairs_list import read_pairs_file

RACES = ("African", "Asian", "Caucasian", "Indian")
# Where the parts lie that authors hand out, from the folder that a user may name.
_TREES = (".", "test", "images/test")
_BINS = ("{race}_test.bin", "rfw_{lower}.bin", "bin_for_mxnet/{race}_test.bin")


def load_rfw(
    root: str | Path, *, races: Iterable[str] = RACES, image_size: int = 112
) -> dict[str, VerificationPairs]:
    """Load RFW from its images and landmarks, or where these are absent from ``.bin`` files.

    Args:
        root: The folder with ``data`` and ``txts``, or one above it, or with the ``.bin`` files.
        races: Which groups, of African, Asian, Caucasian and Indian.
        image_size: Side of the images.

    Returns:
        For each group a set ``rfw_african`` and so on.

    Raises:
        VerificationDataError: A group is unknown or absent, a list is damaged, an image or its
            landmarks are absent.

    Example:
        >>> sets = load_rfw("RFW")
        >>> len(sets["rfw_indian"].pairs)
        6000
    """
    sets = {}
    for race in races:
        if race not in RACES:
            raise VerificationDataError(f"races has {race!r}; give some of {', '.join(RACES)}.")
        found = find_rfw(Path(root), race, image_size=image_size)
        if found is None:
            raise VerificationDataError(
                f"{root} has neither txts/{race}/{race}_pairs.txt nor {race}_test.bin; bring "
                "either, or leave this group out."
            )
        sets[found.name] = found
    return sets


def find_rfw(root: Path, race: str, *, image_size: int = 112) -> VerificationPairs | None:
    """Load one group of RFW, or return None where it is absent.

    Raises:
        VerificationDataError: It is there and damaged.
    """
    name = f"rfw_{race.lower()}"
    for tree in (root / tree for tree in _TREES):
        if (tree / "txts" / race).is_dir():
            return _read_tree(tree, race, name=name, image_size=image_size)
    for pattern in _BINS:
        path = root / pattern.format(race=race, lower=race.lower())
        if path.is_file():
            return read_verification_bin(path, name=name, image_size=image_size)
    return None


def _read_tree(root: Path, race: str, *, name: str, image_size: int) -> VerificationPairs:
    """Read one group with its landmarks."""
    texts = root / "txts" / race
    pairs_file, landmarks_file = texts / f"{race}_pairs.txt", texts / f"{race}_lmk.txt"
    found = read_pairs_file(pairs_file)
    paths, pairs, is_same = located(found.pairs, root / "data" / race, listed_in=pairs_file)
    landmarks = _read_landmarks(landmarks_file)
    absent = [path for path in paths if _key(path) not in landmarks]
    if absent:
        raise VerificationDataError(
            f"{landmarks_file} has no landmarks for {len(absent)} images of {pairs_file}, such as "
            f"{_key(absent[0])}; bring another copy of it."
        )
    points = torch.stack([landmarks[_key(path)] for path in paths])
    return VerificationPairs(
        name,
        ImageFiles(paths, landmarks=points, size=image_size),
        pairs=pairs,
        is_same=is_same,
        image_size=image_size,
        dialect=f"{pairs_file}, {found.dialect}",
        people=find_people(paths, pairs, is_same),
    )


def _key(path: Path) -> str:
    """Return what an image is called in both lists."""
    return f"{path.parent.name}/{path.name}"


def _read_landmarks(path: Path) -> dict[str, Tensor]:
    """Read the landmarks of all images of a group, ``[5, 2]`` each."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise VerificationDataError(f"{path} cannot be read: {error}.") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            numbers = torch.tensor([float(word) for word in words[2:]], dtype=torch.float64)
            found[_key(Path(words[0]))] = numbers.view(5, 2)
        except (ValueError, RuntimeError) as error:
            raise VerificationDataError(
                f"Line {number} of {path} is not a path, a number and ten coordinates; bring "
                "another copy of it."
            ) from error
    return found
