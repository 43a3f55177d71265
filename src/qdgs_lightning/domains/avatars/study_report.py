"""What the runs of the avatars experiment say, in a page and on the terminal."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from qdgs_lightning.reporting.tables import markdown_table
from qdgs_lightning.studies.aggregate import (
    Numbers,
    Result,
    differences,
    opening,
    rows_of,
    unit,
)

_GROUPS = ("dark", "light", "young", "old")


def accuracies(result: Result) -> dict[str, float]:
    """Name what is published of a test (Chang et al., AAAI-24, table 3), as shares in [0, 1]."""
    test = result["test"]
    of_groups = {group: float(test[f"avatars_{group}"]) for group in _GROUPS}
    return of_groups | {
        "average": sum(of_groups.values()) / len(of_groups),
        "DI of dark and light": float(test["skin/own/disparate_impact"]),
        "DI of young and old": float(test["age/own/disparate_impact"]),
    }


def pool(result: Result) -> dict[str, float]:
    """Name what is said of a pool, as shares in [0, 1]."""
    found = result["first_stage"]["pool"]
    shares = {
        f"{attribute}: {cls}": share
        for attribute, classes in found["shares"].items()
        for cls, share in classes.items()
    }
    agreement = {f"agreement on {name}": value for name, value in found["agreement"].items()}
    return shares | {"junk": found["junk"]} | agreement


def markdown(results: Sequence[Result]) -> str:
    """Write the measured part of the page.

    Args:
        results: Finished runs, at least one.
    """
    seeds = len({result["seed"] for result in results})
    parts = [
        opening(results, seeds=f"seeds 0 to {seeds - 1}"),
        "### Accuracy of verification, and disparate impact (the worse group's over the better's)",
        markdown_table(rows_of(results, accuracies, corner="%")),
    ]
    for arm, others in _compared(results):
        table = differences(results, accuracies, corner="points", arm=arm, others=others)
        parts += [f"### Gains of {arm}, paired by seed", markdown_table(table)]
    pools = [result for result in results if result["first_stage"]]
    if pools:
        parts += [
            "### What the pools of the first stage hold, by the reader's word",
            "Shares are of clear images, corrected by the reader's confusion on held-out renders, "
            "and so is junk. Agreement is of the reader with the bins that the latents were drawn "
            "from.",
            markdown_table(rows_of(pools, pool, corner="%")),
            "### What it cost",
            markdown_table(_costs(results)),
        ]
    return "\n\n".join(parts)


def terminal_tables(results: Sequence[Result]) -> Iterator[Table]:
    """Lay the arms side by side: accuracies, then what the pools hold."""
    pools = [result for result in results if result["first_stage"]]
    yield _table("Accuracy of verification, and disparate impact (DI)", results, accuracies)
    if pools:
        yield _table("What the pools hold, by the reader's word", pools, pool)


def _table(title: str, results: Sequence[Result], numbers: Numbers) -> Table:
    """Lay out numbers for the terminal."""
    (corner, *arms), *rows = rows_of(results, numbers, corner=unit(results))
    table = Table(corner, title=title)
    for arm in arms:
        table.add_column(arm, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _costs(results: Sequence[Result]) -> list[list[str]]:
    """Tabulate CPU time and archives, means over seeds."""
    rows = [["arm", "first stage, CPU-s", "second stage, CPU-s", "elites", "coverage, %"]]
    for arm in _arms(results):
        of_arm = [result for result in results if result["arm"] == arm]
        first = [result["first_stage"] for result in of_arm if result["first_stage"]]
        archives = [stage["archive"] for stage in first if stage["archive"]]
        rows.append(
            [
                arm,
                _mean([stage["cpu_seconds"] for stage in first], 0),
                _mean([result["cpu_seconds"] for result in of_arm], 0),
                _mean([archive["num_elites"] for archive in archives], 0),
                _mean([100 * archive["coverage"] for archive in archives], 1),
            ]
        )
    return rows


def _mean(values: Sequence[float], digits: int) -> str:
    """Write a mean, or nothing where there is no value."""
    return f"{sum(values) / len(values):,.{digits}f}" if values else ""


def _arms(results: Sequence[Result]) -> list[str]:
    """List the arms in the order of the runs."""
    return list(dict.fromkeys(result["arm"] for result in results))


def _compared(results: Sequence[Result]) -> Iterator[tuple[str, list[str]]]:
    """Say which arms are compared with which: qd with those before, variants of it with it."""
    arms = _arms(results)
    plain = [arm for arm in arms if arm != "qd" and not arm.startswith("qd+")]
    if "qd" in arms and plain:
        yield "qd", plain
    if "qd" in arms:
        for arm in arms:
            if arm.startswith("qd+"):
                yield arm, ["qd"]
