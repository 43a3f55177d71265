"""What an audit found, for people and for programs."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from qdgs_lightning.audits.agreement import Agreement
from qdgs_lightning.audits.shares import Distances, ShareTable
from qdgs_lightning.audits.units import MANY
from qdgs_lightning.metrics.bootstrap import Estimate
from qdgs_lightning.utils.atomic_files import strict_json


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What is in one set of images.

    Attributes:
        name: Of the set.
        source: What its images are, in JSON types.
        labelled_by: Who says what they show, in JSON types.
        images: How many there are.
        units: How many units the intervals are of.
        unit: What a unit is; see `Units.kind`.
        unit_guessed: Why it was taken to be so, where nobody said it; else empty.
        num_bootstrap: How many replicates of them.
        seed: Of the replicates.
        tables: Shares along each attribute and their intersections.
        agreement: How often the annotator says of each attribute what true labels say, if some
            images have any.
    """

    name: str
    source: dict[str, object]
    labelled_by: dict[str, object]
    images: int
    units: int
    unit: str
    unit_guessed: str
    num_bootstrap: int
    seed: int
    tables: list[ShareTable]
    agreement: tuple[Agreement, ...] = ()

    def remarks(self) -> Iterator[str]:
        """Say what a reader of the intervals should know."""
        if self.unit != "images" and self.units < MANY:
            yield (
                f"{self.name}: intervals of {self.units} units ({self.unit}) are rough; bring "
                f"{MANY} or more."
            )
        for each in self.agreement:
            if each.uneven:
                yield (
                    f"{self.name}: the labelled images are not drawn evenly, for the annotator "
                    f"calls their {each.attribute} otherwise than that of the others (p = "
                    f"{each.p_even:.1g}); shares are those of a set like the labelled ones."
                )


def report_json(reports: Sequence[SourceReport]) -> str:
    """Write reports as JSON; what is no number or infinite is null."""
    content = [
        strict_json(report)
        | {"agreement": [strict_json(each.as_json()) for each in report.agreement]}
        for report in reports
    ]
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def report_csv(reports: Sequence[SourceReport]) -> str:
    """Write reports as a CSV table, one number a row."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["source", "attributes", "quantity", "group", "value", "low", "high"])
    for report in reports:
        for table in report.tables:
            for quantity, group, value in _numbers(table):
                ends = value if isinstance(value, Estimate) else (value, "", "")
                row = [report.name, " x ".join(table.attributes), quantity, group]
                writer.writerow([*row, *("" if end != end else end for end in ends)])
        for each in report.agreement:
            row = [report.name, each.attribute, "annotator's accuracy", ""]
            writer.writerow([*row, *("" if end != end else end for end in each.accuracy)])
    return file.getvalue()


def report_markdown(reports: Sequence[SourceReport]) -> str:
    """Write reports as a page, the sets side by side."""
    parts = ["# Audit", *map(_introduction, reports), _legend(reports[0])]
    parts += [f"- {remark}" for report in reports for remark in report.remarks()]
    for tables in _side_by_side(reports):
        header = [_corner(tables), *(report.name for report in reports)]
        lines = [header, ["---"] * len(header), *_rows(tables)]
        parts.append(_markdown(lines))
    for report in reports:
        parts += [_markdown(each.lines()) for each in report.agreement]
    return "\n\n".join(parts) + "\n"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    """Lay out lines as a table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report_terminal(reports: Sequence[SourceReport]) -> Iterator[Table]:
    """Make tables for a terminal, the sets side by side."""
    for tables in _side_by_side(reports):
        shown = Table(_corner(tables), *(report.name for report in reports))
        rows = list(_rows(tables))
        for place, row in enumerate(rows):
            shown.add_row(*row, end_section=place == len(tables[0].groups) - 1)
        yield shown
    for each in (each for report in reports for each in report.agreement):
        header, _, *lines = each.lines()
        shown = Table(*header)
        for line in lines:
            shown.add_row(*line)
        yield shown


def _legend(report: SourceReport) -> str:
    """Say what the numbers are, and what their intervals depend on."""
    return (
        "Shares in % of the images that show a group, with intervals of 95 %; those of other "
        f"numbers are by {report.num_bootstrap:,} bootstrap replicates of seed {report.seed}. "
        "Effective size: as many units (people, or images on their own) of equal weight. Distance: "
        "total variation, the share of the images that would have to show another group. "
        "Divergence: Kullback-Leibler, 0 where shares are equal."
    )


def _introduction(report: SourceReport) -> str:
    """Say what a set is and who labelled it."""
    kind = report.unit + (f", guessed: {report.unit_guessed}" if report.unit_guessed else "")
    of = f" of {report.units:,} units ({kind})"
    return (
        f"**{report.name}**: {report.images:,} images{of}, {json.dumps(report.source)}; labelled "
        f"by {json.dumps(report.labelled_by, default=str)}."
    )


def _side_by_side(reports: Sequence[SourceReport]) -> Iterator[list[ShareTable]]:
    """Bring the tables of the same attributes together."""
    yield from (list(tables) for tables in zip(*(r.tables for r in reports), strict=True))


def _corner(tables: Sequence[ShareTable]) -> str:
    """Name the attributes of a table and the unit of its shares."""
    return f"{' x '.join(tables[0].attributes)}, %"


def _rows(tables: Sequence[ShareTable]) -> Iterator[list[str]]:
    """Lines of a table: groups first, then what describes all of them."""
    for place, group in enumerate(tables[0].groups):
        yield [group, *(_share(table, place) for table in tables)]
    yield ["images that show a group", *(f"{table.images:,}" for table in tables)]
    if any(table.unknown for table in tables):
        yield ["images without a label", *(f"{table.unknown:,}" for table in tables)]
    yield ["effective size, units", *(f"{table.effective_size:,.0f}" for table in tables)]
    yield ["images of no group, %", *(_percent(table.unclassified) for table in tables)]
    equal = f"effective groups, of {len(tables[0].groups)}"
    yield [equal, *(_number(table.effective_groups, 2) for table in tables)]
    yield from _distances("even shares", [table.to_uniform for table in tables])
    yield from _distances("the targets", [t.to_target for t in tables if t.to_target is not None])


def _share(table: ShareTable, place: int) -> str:
    """A share, and what belongs to it."""
    notes = []
    if table.said is not None:
        notes.append(f"said {_value(100 * table.said[place].value, 1)}")
    if table.of_labels is not None:
        notes.append(f"{table.labelled:,} labels alone {_percent(table.of_labels[place])}")
    if table.target is not None:
        notes.append(f"target {100 * table.target[place]:.1f}")
    return _percent(table.shares[place]) + (f" ({', '.join(notes)})" if notes else "")


def _percent(estimate: Estimate) -> str:
    """A share and its interval in percent."""
    return _number(Estimate(*(100 * value for value in estimate)), 1)


def _distances(other: str, distances: Sequence[Distances]) -> Iterator[list[str]]:
    """Lines of both distances to other shares, if there are any."""
    if distances:
        yield [f"distance to {other}, %", *(_percent(each.total_variation) for each in distances)]
        yield [f"divergence from {other}, nats", *(_number(each.kl, 3) for each in distances)]


def _number(estimate: Estimate, digits: int) -> str:
    """A number, and its interval if it has one."""
    value, low, high = (_value(part, digits) for part in estimate)
    return value if math.isnan(estimate.low) else f"{value} [{low}, {high}]"


def _value(value: float, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _numbers(table: ShareTable) -> Iterator[tuple[str, str, Estimate | float]]:
    """Every number of a table, with its name and group."""
    for place, group in enumerate(table.groups):
        yield "share", group, table.shares[place]
        if table.said is not None:
            yield "share as said", group, table.said[place]
        if table.of_labels is not None:
            yield "share of labels alone", group, table.of_labels[place]
        if table.target is not None:
            yield "target", group, table.target[place]
    yield "images", "", table.images
    yield "images not known", "", table.unknown
    yield "effective size", "", table.effective_size
    yield "no group", "", table.unclassified
    yield "effective groups", "", table.effective_groups
    for other, distances in (("uniform", table.to_uniform), ("target", table.to_target)):
        if distances is not None:
            yield f"total variation to {other}", "", distances.total_variation
            yield f"kl to {other}", "", distances.kl
