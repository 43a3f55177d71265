"""How fair a recogniser is to groups: in numbers, and over the epochs of a training."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, TypedDict

from qdgs_lightning.metrics import disparate_impact
from qdgs_lightning.reporting.figures import fairness_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Record(TypedDict):
    """One measurement of the groups of one population.

    Attributes:
        epoch: When, in epochs trained.
        accuracies: Of each group, in [0, 1].
        scalars: What `fairness_scalars` makes of them.
    """

    epoch: float
    accuracies: dict[str, float]
    scalars: dict[str, float]


def fairness_scalars(
    accuracies: Mapping[str, float], sides: Mapping[str, float]
) -> dict[str, float]:
    """Sum the accuracies of groups up.

    Args:
        accuracies: Of each group, in [0, 1]; two or more.
        sides: Of merged groups, if there are any.

    Returns:
        ``mean``, ``worst`` and ``disparate_impact``, the worst divided by the best; each side, and
        of two sides the first divided by the second, such as ``dark_to_light``.

    Raises:
        DisparateImpactError: There is nothing to divide by.
    """
    values = {
        "mean": fmean(accuracies.values()),
        "worst": min(accuracies.values()),
        "disparate_impact": disparate_impact(accuracies),
        **sides,
    }
    if len(sides) == 2:  # as published, whichever is worse
        first, second = sides
        values[f"{first}_to_{second}"] = disparate_impact(sides, ratio=(first, second))
    return values


def mean_accuracy(accuracies: Mapping[str, float], groups: Iterable[Collection[str]]) -> float:
    """Average the benchmarks that are no groups, or all where there are groups alone.

    Args:
        accuracies: Of each benchmark, in [0, 1]; one or more.
        groups: Names of those that are groups of one population, for each population.
    """
    grouped = {name for members in groups for name in members}
    others = [value for name, value in accuracies.items() if name not in grouped]
    return fmean(others or accuracies.values())


class FairnessHistory:
    """What validations have found of the groups of one or several populations.

    Attributes:
        records: For each population its measurements in their order, in JSON types.
    """

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = {}

    def add(self, name: str, record: Record) -> None:
        """Note a measurement of a population; those of other groups before it are forgotten."""
        before = self.records.get(name, [])
        if before and set(before[-1]["accuracies"]) != set(record["accuracies"]):
            before = []
        self.records[name] = [*before, record]

    def figures(self, merge: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, "Figure"]]:
        """Draw the curves of each population.

        Args:
            merge: Merged groups, by name; the ratio of two is drawn where it was measured.

        Yields:
            The population's name, and its figure.
        """
        for name, records in self.records.items():
            ratios = {"worst / best": [each["scalars"]["disparate_impact"] for each in records]}
            if len(merge) == 2:
                first, second = merge
                key = f"{first}_to_{second}"
                if all(key in each["scalars"] for each in records):
                    values = [each["scalars"][key] for each in records]
                    ratios[f"{first} / {second}"] = values
            figure = fairness_curve(
                [each["epoch"] for each in records],
                accuracies={
                    group.removeprefix(f"{name}_"): [each["accuracies"][group] for each in records]
                    for group in records[-1]["accuracies"]
                },
                ratios=ratios,
                heading=f"{name}: each group at thresholds of its own",
            )
            yield name, figure
