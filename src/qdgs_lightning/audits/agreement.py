"""How often an annotator says what true labels say."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import chi2_contingency
from torch import Tensor

from qdgs_lightning.audits.annotators import NONE, Attribute
from qdgs_lightning.metrics.bootstrap import Estimate
from qdgs_lightning.metrics.proportions import proportion

_UNEVEN = 1e-3


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What an annotator says of images of known truth, along one attribute.

    Attributes:
        attribute: Name of the attribute.
        classes: Its classes, and last "none".
        counts: Images of each true class by what was said of them, int64 ``[c + 1, c + 1]``.
        accuracy: Share of them of which the truth was said; "none" is a class here.
        p_even: Chance that so different things are said of as many evenly drawn images, and of all
            others, one of each unit, by a chi-square test; 1 where there are no others.
    """

    attribute: str
    classes: tuple[str, ...]
    counts: Tensor
    accuracy: Estimate
    p_even: float

    @property
    def uneven(self) -> bool:
        """Whether the images of known truth are not like the others."""
        return self.p_even < _UNEVEN

    @classmethod
    def of(
        cls, truth: Tensor, said: Tensor, *, units: Tensor, attributes: Sequence[Attribute]
    ) -> tuple["Agreement", ...]:
        """Compare along each attribute of which something is known.

        Args:
            truth: Int64 ``[n, len(attributes)]``; -1 for none of the classes, -2 for not known.
            said: By the annotator, of the same shape; -1 for none.
            units: What was drawn independently, int64 from 0, shape ``[n]``.
            attributes: What is said of an image.
        """
        first = torch.zeros(len(units), dtype=torch.bool)
        seen = torch.full((int(units.max()) + 1,), len(units))
        seen = seen.scatter_reduce(0, units, torch.arange(len(units)), reduce="amin")
        first[seen[seen < len(units)]] = True
        found = []
        for column, attribute in enumerate(attributes):
            rows = truth[:, column] >= -1
            if not rows.any():
                continue
            levels = len(attribute.classes) + 1
            words = said[:, column] % levels
            cells = truth[rows, column] % levels * levels + words[rows]
            right = truth[rows, column] == said[rows, column]
            found.append(
                cls(
                    attribute=attribute.name,
                    classes=(*attribute.classes, NONE),
                    counts=cells.bincount(minlength=levels**2).view(levels, levels),
                    accuracy=proportion(
                        right, units=units[rows], weights=torch.ones(int(rows.sum()))
                    ),
                    p_even=_p_even(words[first], rows[first], levels),
                )
            )
        return tuple(found)

    def as_json(self) -> dict[str, object]:
        """Return everything in JSON types; the confusion is as `read_confusion` reads it."""
        rows = zip(self.classes, self.counts.tolist(), strict=True)
        return {
            "attribute": self.attribute,
            "images": int(self.counts.sum()),
            "accuracy": self.accuracy,
            "confusion": {
                true: dict(zip(self.classes, row, strict=True)) for true, row in rows if sum(row)
            },
            "p_even": self.p_even,
        }

    def lines(self) -> list[list[str]]:
        """Lay out the confusion: a header, a rule, a line for each true class, the accuracy."""
        header = [f"{self.attribute}, truly (said:)", *self.classes]
        rows = zip(self.classes, self.counts.tolist(), strict=True)
        lines = [[true, *map(str, row)] for true, row in rows if sum(row)]
        value, low, high = (f"{100 * part:.1f}" for part in self.accuracy)
        accuracy = [f"said rightly, % of {int(self.counts.sum()):,}", f"{value} [{low}, {high}]"]
        return [
            header,
            ["---"] * len(header),
            *lines,
            accuracy + [""] * (len(header) - len(accuracy)),
        ]


def _p_even(words: Tensor, labelled: Tensor, levels: int) -> float:
    """Test whether what is said of images depends on whether they are labelled."""
    counts = (labelled.long() * levels + words).bincount(minlength=2 * levels).view(2, levels)
    counts = counts[:, counts.sum(0) > 0]
    if counts.shape[1] < 2 or (counts.sum(1) == 0).any():
        return 1.0
    return float(chi2_contingency(counts.numpy()).pvalue)
