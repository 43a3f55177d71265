"""Verification sets as folders of aligned images, with a list of pairs.

Lists are read in the dialects of `pairs_list`. **CFP** has the folder ``Protocol`` instead, with
``Pair_list_F.txt``, ``Pair_list_P.txt`` (``number path``, beginning there) and
``Split/FP/01/same.txt``, ``diff.txt`` and so on (``frontal,profile``).

Image files may have any suffix of `IMAGE_SUFFIXES` in any case: a list that says ``a.jpg`` or ``a``
finds ``a.JPG`` and ``a.webp``, and image 7 of Ann is found as ``Ann_0007`` or ``Ann_00007``. Where
a list has all pairs of one kind before all of the other, as those of CALFW and CPLFW have, both are
dealt out to the folds; see `verification_folds`. The ``.mat`` file of AgeDB is not read;
``agedb_30.bin`` has its pairs.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from qdgs_lightning.datasets.folder_walk import visible
from qdgs_lightning.datasets.image_folder import IMAGE_SUFFIXES
from qdgs_lightning.datasets.verification.pair_people import find_people
from qdgs_lightning.datasets.verification.pairs import (
    ImageFiles,
    VerificationDataError,
    VerificationPairs,
    unique_pairs,
)
from qdgs_lightning.datasets.verification.pairs_list import (
    Pair,
    PairList,
    bad_line,
    read_pairs_file,
    read_text_lines,
    split_words,
)

_LISTS = (".txt", ".csv", ".lst")
_NUMBERED = re.compile(r"(.*_)([0-9]{1,18})")


def read_verification_folder(
    folder: str | Path,
    *,
    pairs: str | Path | None = None,
    name: str | None = None,
    image_size: int = 112,
) -> VerificationPairs:
    """Read a folder of aligned images and a list of pairs; see the module for the formats.

    Args:
        folder: With the images.
        pairs: The list, or for CFP the folder ``Protocol/Split/FP`` or ``FF``. None looks in the
            folder for ``Protocol`` (and takes FF for a set ``cfp_ff``) and for the one file
            ``*pair*.txt``, ``.csv`` or ``.lst``; then beside it for ``NAME_pairs.txt``,
            ``NAME_pair.txt``, ``pairs_NAME.txt`` and ``pairs.txt``, whatever the case.
        name: Of the set; None takes the folder's.
        image_size: Side of the images.

    Raises:
        VerificationDataError: There is no list, it is damaged, or it names images that are absent.
    """
    folder = Path(folder)
    name = name or folder.name
    path = _find_list(folder, name) if pairs is None else Path(pairs)
    found = _read_cfp(path) if path.is_dir() else read_pairs_file(path)
    paths, indices, is_same = located(found.pairs, folder, listed_in=path)
    return VerificationPairs(
        name,
        ImageFiles(paths),
        pairs=indices,
        is_same=is_same,
        image_size=image_size,
        dialect=f"{path}, {found.dialect}",
        people=find_people(paths, indices, is_same),
    )


def located(
    pairs: Sequence[Pair], folder: Path, *, listed_in: Path
) -> tuple[list[Path], Tensor, Tensor]:
    """Find the images of pairs.

    Args:
        pairs: As listed.
        folder: Where paths begin.
        listed_in: The list, for messages.

    Returns:
        The images, each once; the pairs that they form, int64 ``[n, 2]``; and whether each pair is
        of one person, bool ``[n]``.

    Raises:
        VerificationDataError: Images are absent.
    """
    names = [name for pair in pairs for name in pair[:2]]
    first, indices = unique_pairs(names)
    paths, absent, listings = [], [], dict[str, dict[str, list[str]]]()
    for name in (names[place] for place in first):
        path = os.path.join(folder, name)
        if os.path.isfile(path) or (path := _alike(path, listings)):
            paths.append(Path(path))
        else:
            absent.append(name)
    if absent:
        raise VerificationDataError(
            f"{listed_in} names {len(absent)} images that are not in {folder}, such as "
            f"{absent[0]}; bring these or another list."
        )
    return paths, indices, torch.tensor([pair.is_same for pair in pairs])


def _alike(path: str, listings: dict[str, dict[str, list[str]]]) -> str:
    """Find an image whose name has another suffix or more zeros; an empty string if there is none.

    Args:
        path: As the list has it.
        listings: Image files of each folder by their names without suffix, filled as need be.
    """
    folder, name = os.path.split(path)
    if folder not in listings:
        found: dict[str, list[str]] = {}
        for file in visible(Path(folder)):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                found.setdefault(file.stem, []).append(file.name)
        listings[folder] = found
    stem, suffix = os.path.splitext(name)
    stem = stem if suffix.lower() in IMAGE_SUFFIXES else name
    files = listings[folder].get(stem, [])
    if not files and (wanted := _NUMBERED.fullmatch(stem)):
        alike = {
            found[0]: names
            for found, names in (
                (_NUMBERED.fullmatch(other), names) for other, names in listings[folder].items()
            )
            if found and found[1] == wanted[1] and int(found[2]) == int(wanted[2])
        }
        files = next(iter(alike.values())) if len(alike) == 1 else []
    order = sorted(files, key=lambda file: IMAGE_SUFFIXES.index(os.path.splitext(file)[1].lower()))
    return os.path.join(folder, order[0]) if order else ""


def _find_list(folder: Path, name: str) -> Path:
    """Look for the list of pairs of a folder."""
    split = folder / "Protocol" / "Split" / ("FF" if name == "cfp_ff" else "FP")
    if split.is_dir():
        return split
    inside = sorted(path for path in _files(folder) if "pair" in path.name.lower())
    if len(inside) == 1:
        return inside[0]
    candidates = [*inside, *_files(folder.parent)]
    for own in (name.lower(), folder.name.lower()):
        for wanted in (f"{own}_pairs.txt", f"{own}_pair.txt", f"pairs_{own}.txt", "pairs.txt"):
            for path in candidates:
                if path.name.lower() == wanted:
                    return path
    many = f", but {' and '.join(path.name for path in inside)}" if inside else ""
    raise VerificationDataError(
        f"{folder} has no pairs.txt in it nor beside it{many}; name the list of pairs."
    )


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder that may be lists."""
    return [path for path in visible(folder) if path.suffix.lower() in _LISTS]


def _read_cfp(split: Path) -> PairList:
    """Read the folds of CFP from ``Protocol/Split/FP`` or ``FF``."""
    protocol = split.parent.parent
    frontal = _read_cfp_images(protocol / "Pair_list_F.txt")
    is_profile = split.name.upper() == "FP"
    other = _read_cfp_images(protocol / "Pair_list_P.txt") if is_profile else frontal
    found = []
    for fold in (path for path in visible(split) if path.is_dir()):
        for file, is_same in ((fold / "same.txt", True), (fold / "diff.txt", False)):
            for line in split_words(read_text_lines(file)):
                try:
                    first, second = (int(word) for word in "".join(line.words).split(","))
                    found.append(Pair(frontal[first], other[second], is_same))
                except (ValueError, KeyError) as error:
                    raise bad_line(file, line, "it is not two numbers of images") from error
    if not found:
        raise VerificationDataError(f"{split} holds no fold; name the folder Protocol/Split/FP.")
    return PairList(found, "folds of CFP")


def _read_cfp_images(path: Path) -> dict[int, str]:
    """Read which number stands for which image."""
    found = {}
    for line in split_words(read_text_lines(path)):
        if len(line.words) != 2 or not line.words[0].isdecimal():
            raise bad_line(path, line, "it is not `number path`")
        # They begin at the folder of the list.
        place = os.path.join(path.parent.name, line.words[1])
        found[int(line.words[0])] = os.path.normpath(place)
    return found
