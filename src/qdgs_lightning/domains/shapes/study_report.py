"""What the runs of the shapes experiment say, in a page and on the terminal."""

from collections.abc import Sequence

from rich.table import Table

from qdgs_lightning.domains.shapes.renderer import GROUPS
from qdgs_lightning.domains.shapes.study_stages import ARMS
from qdgs_lightning.reporting.tables import markdown_table
from qdgs_lightning.studies.aggregate import (
    Interval,
    Numbers,
    Result,
    differences,
    opening,
    rows_of,
    unit,
)


def by_bias(name: str) -> Numbers:
    """Pick a number of the test, for a table with a row for each bias."""
    return lambda result: {_bias(result["bias"]): float(result["test"][name])}


def ordered(results: Sequence[Result]) -> list[Result]:
    """Put runs in the order of tables: the highest bias first, and arms as `ARMS` has them."""
    return sorted(results, key=lambda result: (-result["bias"], ARMS.index(result["arm"])))


def audit_rows(results: Sequence[Result]) -> list[list[str]]:
    """Tabulate what the annotator says of each sampler's pools, over seeds."""
    audited = list({(r["arm"], r["seed"]): r for r in results if r.get("audit")}.values())
    names = [f"share of {group}" for group in GROUPS]
    rows = [["sampler", "label agreement", "junk", *names]]
    for arm in [arm for arm in ARMS if any(r["arm"] == arm for r in audited)]:
        audits = [r["audit"] for r in audited if r["arm"] == arm]
        shares = [
            str(Interval.of([audit["groups"][index] for audit in audits]))
            for index in range(len(GROUPS))
        ]
        agreement = Interval.of([audit["agreement"] for audit in audits])
        junk = Interval.of([audit["junk"] for audit in audits])
        rows.append([arm, str(agreement), str(junk), *shares])
    return rows


def confusion_rows(results: Sequence[Result]) -> list[list[str]]:
    """Tabulate what the annotator says of held-out images whose truth is known, in counts."""
    names = [*GROUPS, "junk"]
    counts = next(r["audit"]["confusion"] for r in results if r.get("audit"))
    return [
        ["truth", *(f"said {name}" for name in names)],
        *([name, *map(str, row)] for name, row in zip(names, counts, strict=True)),
    ]


def markdown(results: Sequence[Result]) -> str:
    """Write the measured part of the page.

    Args:
        results: Finished runs, at least one.
    """
    results = ordered(results)
    balanced, worst = by_bias("balanced"), by_bias("worst")
    parts = [
        opening(results, seeds=_seeds(results)),
        "### Balanced accuracy (mean of the four groups)",
        markdown_table(rows_of(results, balanced, corner="bias")),
        "### Worst group",
        markdown_table(rows_of(results, worst, corner="bias")),
    ]
    if any(result["arm"] == "qd" for result in results):
        others = [arm for arm in dict.fromkeys(result["arm"] for result in results) if arm != "qd"]
        for told, numbers in (("balanced accuracy", balanced), ("the worst group", worst)):
            table = differences(results, numbers, corner="bias", arm="qd", others=others)
            title = f"### Gain of qd in {told}, paired by seed, in points"
            parts += [title, markdown_table(table)]
    if any(result.get("audit") for result in results):
        parts += [
            "### What the samplers' pools hold, by the annotator's word",
            "Agreement is with the labels that the classifiers learnt from, as the annotator says. "
            "The shares of junk and of groups are corrected by its confusion matrix on held-out "
            "renders.",
            markdown_table(audit_rows(results)),
            "That confusion matrix, in images:",
            markdown_table(confusion_rows(results)),
        ]
    return "\n\n".join(parts)


def _seeds(results: Sequence[Result]) -> str:
    """Say how many seeds there are, of each bias where they differ."""
    seeds: dict[float, set[int]] = {}
    for result in results:
        seeds.setdefault(result["bias"], set()).add(result["seed"])
    if len({len(of_bias) for of_bias in seeds.values()}) == 1:
        return f"{len(next(iter(seeds.values())))} seeds"
    counts = (f"{len(seeds[bias])} of {_bias(bias)}" for bias in sorted(seeds, reverse=True))
    return f"seeds by bias: {', '.join(counts)}"


def _bias(bias: float) -> str:
    """Write a bias so that another one is not called the same."""
    return f"{bias:.2f}" if round(bias, 2) == bias else str(bias)


def terminal_table(results: Sequence[Result]) -> Table:
    """Lay the arms side by side, one row per bias and number."""
    results = ordered(results)
    table = Table(title=f"Test accuracy in {unit(results)}")
    names = [group.replace(" ", "_") for group in GROUPS]
    for column in ["bias", "of", *dict.fromkeys(result["arm"] for result in results)]:
        table.add_column(column, justify="left" if column == "of" else "right")
    for name in [*names, "balanced", "worst", "gap"]:
        _, *rows = rows_of(results, by_bias(name), corner="bias")
        for bias, *cells in rows:
            table.add_row(bias, name.replace("_", " "), *cells, end_section=name == names[-1])
    return table
