"""What the runs of the shapes experiment say, in a page and on the terminal."""

from collections.abc import Callable, Sequence

from rich.table import Table

from qdgs_lightning.commands.shapes_runs import ARMS
from qdgs_lightning.commands.table_intervals import Interval, Result, markdown_table
from qdgs_lightning.datasets import GROUPS


def rows_of(results: Sequence[Result], value: Callable[[Result], float]) -> list[list[str]]:
    """Tabulate a value: one row per bias, highest first, and one column per arm.

    Args:
        results: Finished runs.
        value: Picks a share in [0, 1] out of a run.

    Returns:
        Rows of text, the first one being the head.
    """
    arms = [arm for arm in ARMS if any(result["arm"] == arm for result in results)]
    rows = [["bias", *arms]]
    for bias in sorted({result["bias"] for result in results}, reverse=True):
        row = [f"{bias:.2f}"]
        for arm in arms:
            of_cell = [r for r in results if r["arm"] == arm and r["bias"] == bias]
            row.append(str(Interval.of([value(r) for r in of_cell])) if of_cell else "")
        rows.append(row)
    return rows


def differences(results: Sequence[Result], name: str) -> list[list[str]]:
    """Tabulate what `qd` gains over the other arms, paired by seed."""
    others = [arm for arm in ARMS if arm != "qd" and any(r["arm"] == arm for r in results)]
    rows = [["bias", *(f"qd - {arm}" for arm in others)]]
    values = {(r["arm"], r["bias"], r["seed"]): r["test"][name] for r in results}
    for bias in sorted({r["bias"] for r in results if r["arm"] == "qd"}, reverse=True):
        row = [f"{bias:.2f}"]
        for arm in others:
            pairs = [
                values["qd", bias, seed] - value
                for (other, of_bias, seed), value in values.items()
                if (other, of_bias) == (arm, bias) and ("qd", bias, seed) in values
            ]
            row.append(str(Interval.of(pairs)) if pairs else "")
        rows.append(row)
    return rows


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
    parts = [
        f"{len(results)} runs, {_seeds(results)}. Every number is a percentage: the mean over "
        "seeds with its 95 % t-interval.",
        "### Balanced accuracy (mean of the four groups)",
        markdown_table(rows_of(results, lambda r: float(r["test"]["balanced"]))),
        "### Worst group",
        markdown_table(rows_of(results, lambda r: float(r["test"]["worst"]))),
    ]
    if any(result["arm"] == "qd" for result in results):
        parts += [
            "### Gain of qd in balanced accuracy, paired by seed, in points",
            markdown_table(differences(results, "balanced")),
            "### Gain of qd in the worst group, paired by seed, in points",
            markdown_table(differences(results, "worst")),
        ]
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
    counts = (f"{len(seeds[bias])} of {bias:.2f}" for bias in sorted(seeds, reverse=True))
    return f"seeds by bias: {', '.join(counts)}"


def terminal_table(results: Sequence[Result]) -> Table:
    """Lay the arms side by side, one row per bias and number."""
    table = Table(title="Test accuracy in %, mean over seeds ± 95 % interval")
    names = [group.replace(" ", "_") for group in GROUPS]
    head, *_ = rows_of(results, lambda r: 0.0)
    for column in [*head[:1], "of", *head[1:]]:
        table.add_column(column, justify="left" if column == "of" else "right")
    for name in [*names, "balanced", "worst", "gap"]:
        for bias, *cells in rows_of(results, lambda r, name=name: float(r["test"][name]))[1:]:  # type: ignore[misc]
            table.add_row(bias, name.replace("_", " "), *cells, end_section=name == names[-1])
    return table
