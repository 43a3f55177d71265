"""Who says what an image shows: anything that names classes of it, and tables made by people."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import torch
from torch import Tensor, nn

from qdgs_lightning.errors import QDGSError, did_you_mean
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.sampling import JointBins, MeasureBins
from qdgs_lightning.sampling.bins import class_names

NONE = "none"
"""What a table calls an image that shows none of an attribute's classes."""


class AnnotationError(QDGSError):
    """Labels that cannot be read, or that belong to other images or attributes."""


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """What can be said of an image, such as the skin as light, mixed or dark.

    Attributes:
        name: Of the attribute.
        classes: Names of its classes; the place of one is its label.

    Raises:
        AnnotationError: There is no class, or two have one name, or one is called "none".
    """

    name: str
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) < len(self.classes) or NONE in self.classes:
            raise AnnotationError(
                f"The attribute '{self.name}' has the classes {list(self.classes)}: give at least "
                f"one, each with its own name, none of them '{NONE}'."
            )


class Annotator(nn.Module, ABC):
    """Says of images which class of every attribute they show.

    A reader for another domain is one subclass and one line of YAML (``class_path``). Its
    ``__init__`` only notes its arguments; whatever is heavy is loaded by `prepare`.

    Attributes:
        attributes: What is said of an image, in the order of the labels.
        measure_names: Names of what `measured` returns beside the labels, for figures.
    """

    attributes: tuple[Attribute, ...]
    measure_names: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Load models, once, before first use; further calls do nothing."""
        self.eval().requires_grad_(False)

    def measure_ends(self) -> tuple[tuple[str, str] | None, ...]:
        """Describe the two ends of each measure; see `Guidance.measure_ends`."""
        return (None,) * len(self.measure_names)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Label images.

        Args:
            images: RGB in [0, 1], shape ``[n, 3, S, S]``.

        Returns:
            Class of each attribute, int64, shape ``[n, len(attributes)]``; -1 where the image
            shows none of them clearly.
        """

    def measured(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Label images, and say where they lie in the space that labels are cut from, if any.

        Args:
            images: As of `forward`.

        Returns:
            What `forward` returns, and measures ``[n, len(measure_names)]``.
        """
        return self(images), images.new_zeros(len(images), 0)

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Say in JSON types what decides the labels; reports carry it."""


class PromptAnnotator(Annotator):
    """Labels by guidance and bins along its measures, zero-shot, as published shares are made.

    Stated prompts and cuts are all that there is to it: the labels are what a model of images and
    text says, and no ground truth. A labelled sample tells how often it is right.

    Guidance that looks at latents cannot be used, for photographs have none.

    Args:
        guidance: Measures images, such as `PromptGuidance`.
        bins: The classes along one measure each, with names.
        attributes: What each is called, such as ``skin``; after its measure if left out.

    Raises:
        AnnotationError: There are no such measures, or bins or attributes have no names.

    Example:
        >>> cuts = [(-math.inf, -0.05), (0.05, math.inf)]
        >>> bins = [MeasureBins(measure=0, intervals=cuts, names=["red", "blue"])]
        >>> PromptAnnotator(guidance=PromptGuidance(), bins=bins).attributes
        (Attribute(name='red to blue', classes=('red', 'blue')),)
    """

    def __init__(
        self, *, guidance: Guidance, bins: list[MeasureBins], attributes: list[str] | None = None
    ) -> None:
        super().__init__()
        self.guidance = guidance
        self.joint = JointBins(bins)
        names = guidance.measure_names
        for each in bins:
            if each.measure >= len(names) or each.names is None:
                raise AnnotationError(
                    f"Bins are set for measure {each.measure} with the names {each.names}: count "
                    f"measures from 0 ({', '.join(names)}), and give every interval a name."
                )
        called = [names[each.measure] for each in bins] if attributes is None else attributes
        if len(called) != len(bins) or len(set(called)) < len(called):
            raise AnnotationError(
                f"The attributes of {len(bins)} bins are called {called}: give each its own name."
            )
        self.attributes = tuple(
            Attribute(name=name, classes=tuple(classes))
            for name, classes in zip(called, class_names(bins), strict=True)
        )
        self.measure_names = tuple(names)

    def prepare(self) -> None:
        """Load what judges."""
        self.guidance.prepare()
        super().prepare()

    def measure_ends(self) -> tuple[tuple[str, str] | None, ...]:
        """Describe the guidance's measures; see `Annotator.measure_ends`."""
        return self.guidance.measure_ends()

    def forward(self, images: Tensor) -> Tensor:
        """Label images; see `Annotator.forward`."""
        return self.measured(images)[0]

    def measured(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Label images and return all measures; see `Annotator.measured`."""
        measures = self.guidance(images, images.new_zeros(len(images), 1)).measures
        return self.joint.labels(measures), measures

    def describe(self) -> dict[str, object]:
        """Describe what judges, and the cuts."""
        return {
            "class": type(self).__name__,
            "guidance": self.guidance.describe(),
            "bins": [
                {"measure": self.measure_names[each.measure], "intervals": each.intervals}
                for each in self.joint.bins
            ],
        }


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Labels that are known already.

    Attributes:
        path: The file that they are from.
        attributes: What is said of an image.
        names: The images.
        labels: Int64, shape ``[n, len(attributes)]``; -1 where the table says "none", and -2 where
            it says nothing.
    """

    path: Path
    attributes: tuple[Attribute, ...]
    names: tuple[str, ...]
    labels: Tensor

    def find(self, names: Sequence[str]) -> Tensor:
        """Look up the labels of images.

        Args:
            names: Names of images as their source gives them: paths below a folder, or numbers of
                records. A table may have the bare names of files where no two are the same.

        Returns:
            Labels int64 ``[len(names), len(attributes)]``; -2 where the table says nothing.

        Raises:
            AnnotationError: The table has none of these images, or bare names that several of
                them have.
        """
        rows = torch.tensor(_rows_of(self.path, self.names, names))
        return torch.where(rows[:, None] >= 0, self.labels[rows], -2)


def read_labels(path: Path, attributes: Sequence[Attribute] | None = None) -> LabelTable:
    """Read a table of labels.

    Args:
        path: A CSV file with a column ``image``, a path below the folder or the number of a record,
            and one column per attribute. A cell is empty where nothing is known, and "none" where
            the image shows none of the classes.
        attributes: Those to read, which may be fewer than the file has; None for all, with their
            classes in alphabetical order.

    Raises:
        AnnotationError: There is no such file or column, a class is unknown, or an image comes
            twice.
    """
    values = _columns(path)
    if attributes is None:
        attributes = [
            Attribute(name=name, classes=tuple(sorted(set(cells) - {"", NONE})))
            for name, cells in values.items()
            if name != "image"
        ]
    labels = torch.empty(len(values["image"]), len(attributes), dtype=torch.int64)
    for place, attribute in enumerate(attributes):
        if attribute.name not in values:
            hint = did_you_mean(attribute.name, list(values))
            raise AnnotationError(f"{path} has no column '{attribute.name}'{hint}: add it.")
        known = {"": -2, NONE: -1, **{name: i for i, name in enumerate(attribute.classes)}}
        for row, value in enumerate(values[attribute.name]):
            if value not in known:
                raise AnnotationError(
                    f"Row {row + 2} of {path} calls {attribute.name} '{value}'"
                    f"{did_you_mean(value, attribute.classes)}: write one of "
                    f"{', '.join(attribute.classes)}, '{NONE}', or nothing."
                )
            labels[row, place] = known[value]
    return LabelTable(
        path=path, attributes=tuple(attributes), names=tuple(values["image"]), labels=labels
    )


def read_column(path: Path, column: str, names: Sequence[str]) -> list[str]:
    """Read what a column of a table says of every one of some images.

    Args:
        path: A CSV file with a column ``image``, see `read_labels`.
        column: The column to read.
        names: The images.

    Raises:
        AnnotationError: There is no such file or column, or it says nothing of an image.
    """
    values = _columns(path)
    if column not in values:
        hint = did_you_mean(column, list(values))
        raise AnnotationError(f"{path} has no column '{column}'{hint}: add it.")
    rows = _rows_of(path, values["image"], names)
    cells = ["" if row < 0 else values[column][row] for row in rows]
    if "" in cells:
        raise AnnotationError(
            f"{path} gives {cells.count('')} of {len(cells)} images no {column}, such as "
            f"'{names[cells.index('')]}': fill the column for every image."
        )
    return cells


def _columns(path: Path) -> dict[str, list[str]]:
    """Read a table by columns, of which ``image`` is one and names every image once."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(
            f"{path.absolute()} cannot be read ({error}); give a CSV file."
        ) from error
    if "image" not in columns or len(columns) < 2 or not rows:
        raise AnnotationError(
            f"{path} has the columns {columns} and {len(rows)} rows: give at least one row, a "
            "column `image`, and one for each attribute."
        )
    values = {name: [(row[name] or "").strip() for row in rows] for name in columns}
    names = values["image"]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise AnnotationError(f"{path} has the image '{twice}' twice: keep one of its rows.")
    return values


def _rows_of(path: Path, listed: Sequence[str], names: Sequence[str]) -> list[int]:
    """Find the row of every image in a table, -1 where it has none; see `LabelTable.find`."""
    places = {name: row for row, name in enumerate(listed)}
    keys = list(names)
    if not places.keys() & set(keys):
        keys = [PurePath(name).name for name in names]
        if len(set(keys)) < len(keys) and places.keys() & set(keys):
            twice = next(key for key in keys if key in places and keys.count(key) > 1)
            raise AnnotationError(
                f"{path} has an image '{twice}', which several of the images are called: "
                f"write paths below the folder, such as '{names[0]}'."
            )
    rows = [places.get(key, -1) for key in keys]
    if max(rows) < 0:
        raise AnnotationError(
            f"{path} has none of the {len(names)} images: its first is '{listed[0]}' "
            f"and theirs is '{names[0]}'; write names in its column `image` as the latter."
        )
    return rows
