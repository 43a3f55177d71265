"""How often an annotator errs, known from images whose truth is known."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qdgs_lightning.audits.annotators import NONE, AnnotationError, Attribute
from qdgs_lightning.errors import did_you_mean
from qdgs_lightning.metrics.bootstrap import stratified_draws

_CELLS = 2_000_000  # numbers to hold at once


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of what was said of images of each true class; the last class is "none".

    Attributes:
        counts: For each attribute int64 ``[u, c + 1, c + 1]``, truth by word, of every unit that
            replicates are drawn from, such as the images of one identity. A single unit stands for
            counts of images that have nothing to do with each other.

    Raises:
        AnnotationError: From `of` and `read_confusion`: a class has no image of known truth.
    """

    counts: tuple[Tensor, ...]

    @classmethod
    def of(
        cls, truth: Tensor, said: Tensor, *, units: Tensor, attributes: Sequence[Attribute]
    ) -> "Confusion":
        """Count.

        Args:
            truth: Int64 ``[n, len(attributes)]``; -1 for none of the classes, -2 for not known.
            said: By the annotator, of the same shape; -1 for none.
            units: The unit of each image, int64, shape ``[n]``.
            attributes: What is said of an image.
        """
        known, of = truth.ge(-1), torch.unique(units, return_inverse=True)[1]
        single = int(of.max()) + 1 == len(of)
        counts = []
        for column, attribute in enumerate(attributes):
            rows = known[:, column]
            levels = len(attribute.classes) + 1
            true, word = truth[rows, column] % levels, said[rows, column] % levels
            number = 1 if single else int(of.max()) + 1
            unit = torch.zeros_like(true) if single else of[rows]
            cells = (unit * levels + true) * levels + word
            counts.append(cells.bincount(minlength=number * levels**2).view(-1, levels, levels))
        return cls(counts=tuple(_checked(counts, attributes)))

    def replicates(self, number: int, *, seed: int) -> list[Tensor]:
        """Draw what other samples would have shown.

        Images on their own are drawn anew within each true class, units as a whole.

        Args:
            number: How many, besides the sample itself, which comes first.
            seed: Of the draws.

        Returns:
            For each attribute the share of words by truth, float64 ``[1 + number, t, c + 1]``; t
            leaves out "none" where no image is truly none. NaN where a class was not drawn.
        """
        drawn = []
        for place, counts in enumerate(self.counts):
            total = counts.sum(0)
            if len(counts) == 1:
                random = np.random.default_rng([seed, place])
                rows = [_multinomial(random, row, number) for row in total.numpy()]
                values = torch.from_numpy(np.stack(rows, axis=1)).double()
            else:
                flat = counts.flatten(1).double()
                parts = stratified_draws(
                    torch.zeros(len(counts), dtype=torch.int64),
                    num_replicates=number,
                    seed=seed,  # the same for all attributes, which are of the same images
                    batch_size=max(1, _CELLS // flat.numel()),
                )
                values = torch.cat([flat[part].sum(1) for part in parts])
            values = values.view(-1, *total.shape)
            kept = len(total) - int(total[-1].sum() == 0)
            values = values[:, :kept]
            drawn.append(values / values.sum(2, keepdim=True))
        return drawn


def _multinomial(
    random: np.random.Generator, row: "np.ndarray[tuple[int], np.dtype[np.int64]]", number: int
) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """Counts of one class, first as they are and then drawn anew."""
    total = int(row.sum())
    again = random.multinomial(
        total, row / max(total, 1) if total else [1, *[0] * (len(row) - 1)], number
    )
    return np.concatenate([row[None], again])


def read_confusion(path: Path, attributes: Sequence[Attribute]) -> Confusion:
    """Read counts of images of known truth.

    Args:
        path: A JSON file such as ``{"skin": {"light": {"light": 97, "dark": 2, "none": 1}, "dark":
            {...}}}``: for each attribute and true class how many images were called what.
        attributes: What is said of an image.

    Raises:
        AnnotationError: The file cannot be read, names something unknown or lacks a class.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path} cannot be read ({error}); give a JSON file.") from error
    counts = []
    for attribute in attributes:
        names = [*attribute.classes, NONE]
        table = torch.zeros(1, len(names), len(names), dtype=torch.int64)
        rows = content.get(attribute.name) if isinstance(content, dict) else None
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise AnnotationError(
                f"{path} has no counts of '{attribute.name}': write them as "
                '{"attribute": {"true class": {"said class": 97, ...}, ...}, ...}.'
            )
        for true, row in rows.items():
            for said, count in row.items():
                for name in (true, said):
                    if name not in names:
                        raise AnnotationError(
                            f"{path} has '{name}', which is no class of {attribute.name}"
                            f"{did_you_mean(name, names)}: it has {', '.join(names)}."
                        )
                if not isinstance(count, int) or count < 0:
                    raise AnnotationError(
                        f"{path} has {count} for '{true}' called '{said}': give whole numbers."
                    )
                table[0, names.index(true), names.index(said)] = count
        counts.append(table)
    return Confusion(counts=tuple(_checked(counts, attributes)))


def _checked(counts: list[Tensor], attributes: Sequence[Attribute]) -> list[Tensor]:
    """Refuse a class of whose images nothing is known."""
    for attribute, table in zip(attributes, counts, strict=True):
        per_class = table.sum((0, 2))[:-1].tolist()
        lacking = [n for n, count in zip(attribute.classes, per_class, strict=True) if not count]
        if lacking:
            raise AnnotationError(
                f"No image is known to show {attribute.name} {', '.join(lacking)}, so how often "
                "the annotator errs on it cannot be told: label some of every class."
            )
    return counts
