"""Units of a set of images: what was drawn independently, such as people of several images each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import torch
from torch import Tensor

from qdgs_lightning.audits.annotators import read_column
from qdgs_lightning.errors import QDGSError

MANY = 20
"""From how many units on intervals hold about what they say; fewer are never guessed."""

_SPLIT = re.compile(
    r"(train|training|val|valid|validation|dev|test|testing|eval)([ _-]?set)?([ _-]?\d+)?"
)


class AuditError(QDGSError):
    """Images that cannot be audited as asked."""


@dataclass(frozen=True, kw_only=True)
class UnitColumn:
    """A table that says which unit each image is of.

    Attributes:
        table: A CSV file with a column ``image``, as tables of labels have it.
        column: The column of the units, such as ``person``.
    """

    table: Path
    column: str


Unit = Literal["images", "folders"] | UnitColumn


@dataclass(frozen=True, kw_only=True)
class Units:
    """The unit of every image, and how it is known.

    Attributes:
        of: Int64, shape ``[n]``, from 0 without gaps.
        kind: ``images``, ``folders``, or ``column NAME of TABLE``.
        guessed: Why this kind was taken, where nobody said so; empty where somebody did.
    """

    of: Tensor
    kind: str
    guessed: str = ""

    def __len__(self) -> int:
        return int(self.of.max()) + 1

    @classmethod
    def single(cls, n: int) -> "Units":
        """Take every image for a unit of its own, as those are that a generator draws."""
        return cls(of=torch.arange(n), kind="images")

    @classmethod
    def find(
        cls,
        path: Path,
        names: Sequence[str],
        identities: Sequence[int],
        *,
        unit: Unit | None,
    ) -> "Units":
        """Find the units of the images of a file or folder.

        A folder is the first one below the path; those of splits (train, val, test) are looked
        through, and never a unit. The identity of a record counts as its folder.

        Args:
            path: Where the images are.
            names: What they are called: paths below a folder, or numbers of records.
            identities: Whom each shows, as far as records tell, and -1 elsewhere.
            unit: What is asked for; None guesses where a guess does no harm.

        Raises:
            AuditError: Images lie in no folder, it cannot be guessed whether folders are people, or
                all images are of one unit.
            AnnotationError: A table lacks the column, or images.

        Example:
            >>> names = ["train/1.png", "val/1.png"]
            >>> Units.find(Path("set"), names, [-1, -1], unit=None).guessed
            'they lie in no folder but train and val'
        """
        units = cls._find(path, names, identities, unit=unit)
        if len(units) == 1 < len(names):
            raise AuditError(
                f"All {len(names):,} images of {path} are of one unit ({units.kind}), which tells "
                "nothing of how far shares would move with others: set `units` to images if each "
                "counts by itself, or bring more units."
            )
        return units

    @classmethod
    def _find(
        cls,
        path: Path,
        names: Sequence[str],
        identities: Sequence[int],
        *,
        unit: Unit | None,
    ) -> "Units":
        """Find units, be it a single one."""
        keys = _folders(path, names, identities)
        if isinstance(unit, UnitColumn):
            cells = read_column(unit.table, unit.column, names)
            return cls(of=_numbered(cells), kind=f"column {unit.column} of {unit.table}")
        if unit is None:
            unit, guessed = _guess(path, names, keys)
        else:
            guessed = ""
        if unit == "images":
            return cls(of=torch.arange(len(names)), kind="images", guessed=guessed)
        if lacking := [name for name, key in zip(names, keys, strict=True) if key is None]:
            raise AuditError(
                f"{len(lacking)} images of {path} lie in no folder that could be a unit, such as "
                f"{lacking[0]}: set `units` to images, or name a column of a table."
            )
        return cls(of=_numbered(keys), kind="folders", guessed=guessed)


def _folders(path: Path, names: Sequence[str], identities: Sequence[int]) -> list[str | None]:
    """Name the folder, or the identity, of every image; None where there is none."""
    if path.is_dir() and not any(path.glob("*.rec")):
        parts = (PurePath(name).parts[:-1] for name in names)
        return [next((part for part in folder if not _is_split(part)), None) for folder in parts]
    return [str(identity) if identity >= 0 else None for identity in identities]


def _guess(
    path: Path, names: Sequence[str], keys: Sequence[str | None]
) -> tuple[Literal["images", "folders"], str]:
    """Choose the unit where the layout leaves no doubt, or where a mistake does no harm.

    Many folders that are no people are harmless: whole folders of independent images are
    independent of each other, too.

    Raises:
        AuditError: There is a doubt that matters.
    """
    found = sorted({key for key in keys if key is not None})
    if not found:
        splits = sorted({PurePath(name).parts[0] for name in names if PurePath(name).parts[1:]})
        if splits:
            return "images", f"they lie in no folder but {' and '.join(splits)}"
        if path.is_dir():
            return "images", "they lie in no folder of their own"
        return "images", "nothing tells whom they show"
    if not path.is_dir() or any(path.glob("*.rec")):
        return "folders", "records have identities"
    if len(found) >= MANY and None not in keys:
        return "folders", f"there are {len(found):,} folders, as many as of identities"
    loose = " and images beside them" if None in keys else ""
    listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    raise AuditError(
        f"It cannot be told what the unit of {path} is, which has {len(found)} folders ({listed})"
        f"{loose}: set `units` to folders if each is one person, to images if every image counts "
        "by itself, or name a column of a table."
    )


def _is_split(folder: str) -> bool:
    """Whether a folder is called as parts of a data set are."""
    return _SPLIT.fullmatch(folder.lower()) is not None


def _numbered(keys: Sequence[str | None]) -> Tensor:
    """Number what is alike, in the order of first appearance."""
    numbers: dict[str | None, int] = {}
    return torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys])
