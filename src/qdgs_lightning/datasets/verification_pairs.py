r"""Verification sets as folders of aligned images, with a list of pairs.

These lists are read, as their authors publish them:

- **LFW**: a first line with the numbers of folds and of pairs (``10\t300``; or one number, as in
  ``pairsDevTest.txt``; or none, as in RFW), then ``name i j`` for a pair of one person and
  ``name1 i name2 j`` for one of two. Image 7 of Ann is ``Ann/Ann_0007.jpg`` (.png, .jpeg, .bmp).
- **AgeDB-30** and whatever insightface's tools pack: ``path1 path2 flag``; a pair is of one person
  where the flag is above 0.
- **CALFW, CPLFW**: ``path flag`` on two lines for each pair, above 0 on both for one person.
- **CFP**: the folder ``Protocol`` with ``Pair_list_F.txt``, ``Pair_list_P.txt`` (``number path``,
  beginning there) and ``Split/FP/01/same.txt``, ``diff.txt`` and so on (``frontal,profile``).

Accuracy is measured in contiguous folds. Where a list has all pairs of one kind before all of the
other, as those of CALFW and CPLFW have, both are dealt out to ten folds in the order in which they
stand, as FaceX-Zoo does. The ``.mat`` file of AgeDB is not read; ``agedb_30.bin`` has its pairs.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from qdgs_lightning.datasets.verification_set import (
    ImageFiles,
    VerificationDataError,
    VerificationPairs,
    unique_pairs,
)

_NUM_FOLDS = 10
_SUFFIXES = (".jpg", ".png", ".jpeg", ".bmp")


class Pair(NamedTuple):
    """Two images of a list.

    Attributes:
        first: Path from the folder of the set, perhaps without a suffix.
        second: The same of the other.
        is_same: Whether both are of one person.
    """

    first: str
    second: str
    is_same: bool


class Line(NamedTuple):
    """What stands in a line, and its number, from 1."""

    number: int
    words: list[str]


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
            ``*pair*.txt``; then beside it for ``NAME_pairs.txt``, ``NAME_pair.txt``,
            ``pairs_NAME.txt`` and ``pairs.txt``, whatever the case.
        name: Of the set; None takes the folder's.
        image_size: Side of the images.

    Raises:
        VerificationDataError: There is no list, it is damaged, or it names images that are absent.
    """
    folder = Path(folder)
    name = name or folder.name
    path = _find_list(folder, name) if pairs is None else Path(pairs)
    found = _read_cfp(path) if path.is_dir() else read_pairs_file(path)
    paths, indices, is_same = located(found, folder, listed_in=path)
    return VerificationPairs(
        name, ImageFiles(paths), pairs=indices, is_same=is_same, image_size=image_size
    )


def read_pairs_file(path: Path) -> list[Pair]:
    """Read a list of pairs of any of the formats above, except CFP's.

    Raises:
        VerificationDataError: It cannot be read, is empty, or a line is of no known format.
    """
    lines, expected = _read_lines(path), None
    if len(lines[0].words) <= 2 and all(word.isdecimal() for word in lines[0].words):
        count = [int(word) for word in lines.pop(0).words]
        expected = 2 * count[0] * (count[1] if len(count) == 2 else 1)
    found = []
    if lines and len(lines[0].words) == 2:
        if len(lines) % 2:
            raise _error(path, lines[-1], "it has no second line")
        for first, second in zip(lines[::2], lines[1::2], strict=True):
            found.append(_of_two_lines(path, first, second))
    else:
        found = [_of_one_line(path, line) for line in lines]
    if not found or (expected is not None and len(found) != expected):
        wanted = "" if expected is None else f" where its first line says {expected}"
        raise VerificationDataError(
            f"{path} lists {len(found)} pairs{wanted}; bring another copy of it."
        )
    return _dealt_out(found)


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
    paths, absent = [], []
    for name in (names[place] for place in first):
        candidates = (name,) if Path(name).suffix in _SUFFIXES else (name + s for s in _SUFFIXES)
        for candidate in candidates:
            path = os.path.join(folder, candidate)
            if os.path.isfile(path):
                paths.append(Path(path))
                break
        else:
            absent.append(name)
    if absent:
        raise VerificationDataError(
            f"{listed_in} names {len(absent)} images that are not in {folder}, such as "
            f"{absent[0]}; bring these or another list."
        )
    return paths, indices, torch.tensor([pair.is_same for pair in pairs])


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
    """Return text files of a folder."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt")
    except OSError as error:
        raise VerificationDataError(f"{folder.absolute()} cannot be read: {error}.") from error


def _read_lines(path: Path) -> list[Line]:
    """Read a list that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise VerificationDataError(
            f"{path} cannot be read as a list of pairs: {error}."
        ) from error
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        # Names may have spaces where tabs stand between them.
        words = [word.strip() for word in line.strip().split("\t" if "\t" in line else None)]
        if any(words):
            lines.append(Line(number, words))
    if not lines:
        raise VerificationDataError(f"{path} is empty; bring another copy of it.")
    return lines


def _of_one_line(path: Path, line: Line) -> Pair:
    """Read a pair as LFW or AgeDB-30 have it."""
    match line.words:
        case [name, first, second] if first.isdecimal() and second.isdecimal():
            return Pair(_of_lfw(name, first), _of_lfw(name, second), True)
        case [name, first, other, second] if first.isdecimal() and second.isdecimal():
            return Pair(_of_lfw(name, first), _of_lfw(other, second), False)
        case [first, second, flag] if _is_flag(flag):
            return Pair(first, second, int(flag) > 0)
    raise _error(path, line, "it is none of `name i j`, `name1 i name2 j` and `path1 path2 flag`")


def _of_two_lines(path: Path, first: Line, second: Line) -> Pair:
    """Read a pair as CALFW and CPLFW have it."""
    for line in (first, second):
        if len(line.words) != 2 or not _is_flag(line.words[1]):
            raise _error(path, line, "it is not `path flag`, as the first is")
    if (int(first.words[1]) > 0) != (int(second.words[1]) > 0):
        raise _error(path, second, "its flag is not that of the line before")
    return Pair(first.words[0], second.words[0], int(first.words[1]) > 0)


def _of_lfw(name: str, number: str) -> str:
    """Return where LFW keeps an image."""
    return f"{name}/{name}_{number.zfill(4)}"


def _is_flag(word: str) -> bool:
    """Tell whether a word is a whole number."""
    return word.removeprefix("-").isdecimal()


def _read_cfp(split: Path) -> list[Pair]:
    """Read the folds of CFP from ``Protocol/Split/FP`` or ``FF``."""
    protocol = split.parent.parent
    frontal = _read_cfp_images(protocol / "Pair_list_F.txt")
    is_profile = split.name.upper() == "FP"
    other = _read_cfp_images(protocol / "Pair_list_P.txt") if is_profile else frontal
    found = []
    for fold in sorted(path for path in split.iterdir() if path.is_dir()):
        for file, is_same in ((fold / "same.txt", True), (fold / "diff.txt", False)):
            for line in _read_lines(file):
                try:
                    first, second = (int(word) for word in "".join(line.words).split(","))
                    found.append(Pair(frontal[first], other[second], is_same))
                except (ValueError, KeyError) as error:
                    raise _error(file, line, "it is not two numbers of images") from error
    if not found:
        raise VerificationDataError(f"{split} holds no fold; name the folder Protocol/Split/FP.")
    return found


def _read_cfp_images(path: Path) -> dict[int, str]:
    """Read which number stands for which image."""
    found = {}
    for line in _read_lines(path):
        if len(line.words) != 2 or not line.words[0].isdecimal():
            raise _error(path, line, "it is not `number path`")
        # They begin at the folder of the list.
        place = os.path.join(path.parent.name, line.words[1])
        found[int(line.words[0])] = os.path.normpath(place)
    return found


def _dealt_out(pairs: list[Pair]) -> list[Pair]:
    """Give each fold pairs of both kinds where these stand apart."""
    switches = [row for row in range(1, len(pairs)) if pairs[row][2] != pairs[row - 1][2]]
    if len(switches) != 1:
        return pairs
    kinds = (range(switches[0]), range(switches[0], len(pairs)))
    parts = [torch.tensor(kind).tensor_split(_NUM_FOLDS) for kind in kinds]
    rows = torch.cat([part for fold in zip(*parts, strict=True) for part in fold])
    return [pairs[row] for row in rows.tolist()]


def _error(path: Path, line: Line, reason: str) -> VerificationDataError:
    """Say which line is bad, and why."""
    return VerificationDataError(
        f"Line {line.number} of {path} cannot be read ({reason}); mend it or bring another list."
    )
