r"""Lists of pairs in the dialects that authors publish and that people write.

Read are, with tabs, commas, semicolons or spaces between the words:

- **LFW**: a first line with the numbers of folds and of pairs (``10\t300``; or one number, as in
  ``pairsDevTest.txt``; or none, as in RFW), then ``name i j`` for a pair of one person and
  ``name1 i name2 j`` for one of two. Image 7 of Ann is ``Ann/Ann_0007``.
- **AgeDB-30** and whatever insightface's tools pack: ``path1 path2 flag``; or the flag first.
- **CALFW, CPLFW**: ``path flag`` on two lines for each pair, above 0 on both for one person.
- **CSV files** with a header that names a column of flags (``label``, ``same``) and two of images.

A flag is a whole number, above 0 for one person, or a word such as True and False. Any list must
have one meaning for all its lines; where it has none or two, the line is named.
"""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from qdgs_lightning.datasets.image_folder import IMAGE_SUFFIXES
from qdgs_lightning.datasets.verification.folds import dealt_out
from qdgs_lightning.datasets.verification.pairs import VerificationDataError

_SEPARATORS = {"\t": "tab", ",": "comma", ";": "semicolon"}
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
_TRUE = frozenset({"true", "yes", "same", "match", "genuine", "positive"})
_FALSE = frozenset({"false", "no", "different", "diff", "mismatch", "impostor", "negative"})
_FLAGS = frozenset(
    {"label", "labels", "flag", "same", "issame", "actualissame", "sameperson", "issameperson"}
    | {"match", "ismatch", "target", "gt", "groundtruth", "y", "genuine", "isgenuine"}
)
_IMAGE = r"(?:image|img|im|path|file|filename|face|photo|imagepath|imgpath)"
_FIRST = re.compile(rf"{_IMAGE}(?:1|a|left)|first")
_SECOND = re.compile(rf"{_IMAGE}(?:2|b|right)|second")
_LFW_HEADER = frozenset({"imagenum1", "imagenum2"})


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


class PairList(NamedTuple):
    """The pairs of a list, and how it was read.

    Attributes:
        pairs: In the order of the folds.
        dialect: In words, such as "comma-separated `path1 path2 flag`, with a header".
    """

    pairs: list[Pair]
    dialect: str


class Line(NamedTuple):
    """The words of a line, and its number, from 1."""

    number: int
    words: list[str]


Reader = Callable[[list[str]], Pair | None]


def read_pairs_file(path: Path) -> PairList:
    """Read a list of pairs in any dialect above.

    Raises:
        VerificationDataError: It cannot be read, is empty or in another encoding, or a line is of
            no known dialect or of two.
    """
    separator, lines = _split(read_text_lines(path))
    expected, told = None, ""
    if len(lines[0].words) <= 2 and all(word.isdecimal() for word in lines[0].words):
        count = [int(word) for word in lines.pop(0).words]
        expected = 2 * count[0] * (count[1] if len(count) == 2 else 1)
        told = f", {expected:,} pairs by its first line"
    layouts = _LAYOUTS
    if lines and (header := _header(path, lines[0])) is not None:
        layouts, told = header, ", with a header"
        del lines[0]
    if lines and len(lines[0].words) == 2:
        layout, found = "`path flag` on two lines", _of_two_lines(path, lines)
    else:
        layout, found = _of_one_line(path, lines, layouts)
    if not found or (expected is not None and len(found) != expected):
        wanted = "" if expected is None else f" where its first line says {expected}"
        raise VerificationDataError(
            f"{path} lists {len(found)} pairs{wanted}; bring another copy of it."
        )
    order = dealt_out([pair.is_same for pair in found])
    return PairList([found[row] for row in order], f"{separator}-separated {layout}{told}")


def read_text_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a list that are not blank, with their numbers from 1.

    Raises:
        VerificationDataError: It cannot be read, is empty, or is not in UTF-8; the sentence names
            the line and the encoding that it seems to have.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VerificationDataError(
            f"{path} cannot be read as a list of pairs: {error.strerror}."
        ) from error
    try:
        if (zero := data.find(b"\0")) >= 0:  # UTF-16 may pass for UTF-8 otherwise
            raise UnicodeDecodeError("utf-8", data, zero, zero + 1, "a zero")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise VerificationDataError(
            f"{path} cannot be read as a list of pairs: line {number} is not in UTF-8 but seems to "
            f"be in {_encoding(data)}; save it as UTF-8."
        ) from error
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise VerificationDataError(f"{path} is empty; bring another copy of it.")
    return lines


def bad_line(path: Path, line: Line, reason: str) -> VerificationDataError:
    """Say which line is bad, and why."""
    return VerificationDataError(
        f"Line {line.number} of {path} cannot be read ({reason}); mend it or bring another list."
    )


def split_words(lines: Sequence[tuple[int, str]]) -> list[Line]:
    """Split lines into words, at tabs where a line has one and at spaces elsewhere."""
    split = [(number, line.strip().split("\t" if "\t" in line else None)) for number, line in lines]
    return [Line(number, [word.strip() for word in words]) for number, words in split]


def _split(lines: list[tuple[int, str]]) -> tuple[str, list[Line]]:
    """Find what stands between words, and split; names may have spaces between other marks."""
    body = lines[1:] or lines  # the first may be a number or two
    if not any("\t" in line for _, line in body):
        for mark in (",", ";"):
            if all(mark in line for _, line in body):
                return _SEPARATORS[mark], [
                    Line(number, _cells(line, mark)) for number, line in lines
                ]
    return "tab" if any("\t" in line for _, line in body) else "space", split_words(lines)


def _cells(line: str, mark: str) -> list[str]:
    """Split a line of a CSV file; empty cells at its end are left out, as LFW's lists have them."""
    words = [word.strip() for word in next(csv.reader([line], delimiter=mark))]
    while words and not words[-1]:
        words.pop()
    return words


def _encoding(data: bytes) -> str:
    """Guess the encoding of a text that is not UTF-8, in words."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data:
        return "UTF-16"
    try:
        beyond = [c for c in data.decode("gb18030") if ord(c) > 127]
        if beyond and all("\u4e00" <= c <= "\u9fff" for c in beyond):
            return "GB18030"
    except UnicodeDecodeError:
        pass
    return "Latin-1 (Windows-1252)"


def _flag(word: str) -> bool | None:
    """Read a flag; None where a word is none."""
    if _NUMBER.fullmatch(word):
        return float(word) > 0
    known = word.lower()
    return True if known in _TRUE else False if known in _FALSE else None


def _lfw(words: list[str]) -> Pair | None:
    """Read ``name i j`` or ``name1 i name2 j``."""
    match words:
        case [name, first, second] if first.isdecimal() and second.isdecimal():
            return Pair(_of_lfw(name, first), _of_lfw(name, second), True)
        case [name, first, other, second] if first.isdecimal() and second.isdecimal():
            return Pair(_of_lfw(name, first), _of_lfw(other, second), False)
    return None


def _of_lfw(name: str, number: str) -> str:
    """Return where LFW keeps an image."""
    return f"{name}/{name}_{number.zfill(4)}"


def _columns(first: int, second: int, flag: int, *, width: int) -> Reader:
    """Make a reader of lines with so many words, of which some are images and flag."""

    def read(words: list[str]) -> Pair | None:
        if len(words) != width or (same := _flag(words[flag])) is None:
            return None
        return Pair(words[first], words[second], same)

    return read


_LAYOUTS: dict[str, Reader] = {
    "`name i j` or `name1 i name2 j`": _lfw,
    "`path1 path2 flag`": _columns(0, 1, 2, width=3),
    "`flag path1 path2`": _columns(1, 2, 0, width=3),
}


def _header(path: Path, line: Line) -> dict[str, Reader] | None:
    """Return how lines are read below a header; None where the line is none."""
    if any(_NUMBER.fullmatch(word) or word.lower().endswith(IMAGE_SUFFIXES) for word in line.words):
        return None
    names = [re.sub("[^a-z0-9]", "", word.lower()) for word in line.words]
    if set(names) >= _LFW_HEADER:
        return {"`name i j` or `name1 i name2 j`": _lfw}
    flags = [place for place, name in enumerate(names) if name in _FLAGS]
    images = [
        [place for place, name in enumerate(names) if pattern.fullmatch(name)]
        for pattern in (_FIRST, _SECOND)
    ]
    if not flags and not any(images):
        return None
    if len(names) == 3 and len(flags) == 1 and not all(images):
        images = [[place] for place in range(3) if place not in flags]
    if len(names) == 3 and not flags and all(images):
        flags = [place for place in range(3) if [place] not in images]
    if any(len(places) != 1 for places in (flags, *images)):
        raise bad_line(
            path, line, "as a header it should name three columns image1, image2 and same"
        )
    columns = images[0][0], images[1][0], flags[0]
    told = ", ".join(line.words[place] for place in columns)
    return {f"columns {told}": _columns(*columns, width=len(names))}


def _of_one_line(
    path: Path, lines: list[Line], layouts: dict[str, Reader]
) -> tuple[str, list[Pair]]:
    """Read pairs of one line each in the one layout that all lines have."""
    read = {name: [of(line.words) for line in lines] for name, of in layouts.items()}
    whole = [name for name, pairs in read.items() if None not in pairs]
    first = next(iter(layouts))
    if len(whole) > 1 and first not in whole:
        raise bad_line(
            path, lines[0], f"it can be {' and '.join(whole)}; give image files their suffixes"
        )
    if not whole and lines:
        furthest = max(pairs.index(None) for pairs in read.values())
        raise bad_line(path, lines[furthest], f"it is none of {', '.join(layouts)}")
    name = first if first in whole else whole[0] if whole else first
    return name, [pair for pair in read[name] if pair is not None]


def _of_two_lines(path: Path, lines: list[Line]) -> list[Pair]:
    """Read pairs as CALFW and CPLFW have them."""
    if len(lines) % 2:
        raise bad_line(path, lines[-1], "it has no second line")
    found = []
    for pair in zip(lines[::2], lines[1::2], strict=True):
        flags = []
        for line in pair:
            flag = _flag(line.words[1]) if len(line.words) == 2 else None
            if flag is None:
                raise bad_line(path, line, "it is not `path flag`, as the first is")
            flags.append(flag)
        if flags[0] != flags[1]:
            raise bad_line(path, pair[1], "its flag is not that of the line before")
        found.append(Pair(pair[0].words[0], pair[1].words[0], flags[0]))
    return found
