"""The tables of a test of a recogniser, as a terminal of 80 columns shows them."""

from dataclasses import replace
from io import StringIO

import pytest
import torch
from matplotlib.container import BarContainer, ErrorbarContainer
from rich.console import Console

from qdgs_lightning.metrics import group_verification, verification_accuracy
from qdgs_lightning.metrics.bootstrap import Estimate
from qdgs_lightning.metrics.verification.accuracy import Protocol
from qdgs_lightning.reporting.face_report import FaceReport


def shown(names: list[str], population: str) -> tuple[FaceReport, list[str]]:
    """Judge random pairs of groups; return the report, and the cells of each line at 80 columns."""
    random, n = torch.Generator().manual_seed(0), 2000
    same = torch.arange(n * len(names)) % 2 == 0
    distances = torch.rand(len(same), generator=random) + 0.7 * ~same
    found = group_verification(
        distances,
        same,
        torch.arange(len(names)).repeat_interleave(n),
        names=names,
        merge={"dark": names[:1], "light": names[1:]},
        num_bootstrap=20,
        seed=0,
    )
    parts = zip(names, distances.chunk(len(names)), same.chunk(len(names)), strict=True)
    results = {name: verification_accuracy(*pairs) for name, *pairs in parts}
    report = FaceReport(
        results=results, fairness={population: found}, about={"protocol": "insightface"}
    )
    console = Console(width=80, file=StringIO())
    for table in report.tables():
        console.print(table)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    return report, [line for line in lines if line.startswith("│")]


def written(estimate: Estimate) -> str:
    value, low, high = (f"{100 * share:.2f}" for share in estimate)
    return f"{value} [{low}, {high}]"


def test_each_group_is_a_line_with_whole_intervals() -> None:
    names = ["rfw_african", "rfw_asian", "rfw_caucasian", "rfw_indian"]
    report, lines = shown(names, "rfw")
    found = report.fairness["rfw"]
    assert found.merged_own is not None
    assert found.merged_pooled is not None
    rows = [tuple(cell.strip() for cell in line.strip("│").split("│")) for line in lines]
    kinds = (
        (found.own, found.pooled, [*names]),
        (found.merged_own, found.merged_pooled, ["dark", "light"]),
    )
    for own, pooled, groups in kinds:
        for group in groups:
            both = own.accuracies[group], pooled.accuracies[group]
            assert (group.removeprefix("rfw_"), *map(written, both)) in rows
    spread = found.own.disparate_impact, found.pooled.disparate_impact
    assert ("worst / best", *map(written, spread)) in rows
    for rate, errors in found.at_false_match_rate.items():
        place = rows.index((f"at FMR {100 * rate:g} %", "", ""))
        for row, group in zip(rows[place + 1 : place + 5], names, strict=True):
            both = errors.false_match[group], errors.false_non_match[group]
            assert row == (group.removeprefix("rfw_"), *map(written, both))


def test_error_bars_are_the_intervals_of_the_table() -> None:
    names = ["rfw_african", "rfw_asian", "rfw_indian"]
    report, _ = shown(names, "rfw")
    ((population, figure),) = report.bars()
    assert population == "rfw"
    (axes,) = figure.axes
    drawn = [bars for bars in axes.containers if isinstance(bars, ErrorbarContainer)]
    ends = [bars.lines[2][0].get_segments()[0][:, 1].tolist() for bars in drawn]
    found = report.fairness["rfw"]
    estimates = [each.accuracies[name] for each in (found.own, found.pooled) for name in names]
    assert ends == [pytest.approx([each.low, each.high]) for each in estimates]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["african", "asian", "indian"]


def test_numbers_of_groups_and_of_others_stay_apart() -> None:
    names = ["rfw_african", "rfw_asian"]
    report, _ = shown(names, "rfw")
    found = report.fairness["rfw"]
    assert report.ungrouped == {}
    grouped = [report.results[name].accuracy for name in names]
    assert report.mean == pytest.approx(sum(grouped) / 2)
    lfw = report.results["rfw_asian"]._replace(accuracy=0.75)
    wider = replace(report, results={**report.results, "lfw": lfw})
    assert list(wider.ungrouped) == ["lfw"]
    assert wider.mean == 0.75
    scalars = wider.scalars()
    assert (scalars["mean"], scalars["lfw"]) == (0.75, 0.75)
    assert found.merged_pooled is not None
    for kind, accuracies, sides in (
        ("own", found.own, found.merged_own),
        ("pooled", found.pooled, found.merged_pooled),
    ):
        assert sides is not None
        values = [accuracies.accuracies[name].value for name in names]
        assert scalars[f"rfw/{kind}/worst"] == min(values)
        assert scalars[f"rfw/{kind}/disparate_impact"] == pytest.approx(min(values) / max(values))
        dark, light = (sides.accuracies[side].value for side in ("dark", "light"))
        assert scalars[f"rfw/{kind}/dark_to_light"] == pytest.approx(dark / light)
    ((name, figure),) = wider.bars()
    assert name == "rfw"
    heights = {
        series.get_label(): [bar.get_height() for bar in series]
        for axes in figure.axes
        for series in axes.containers
        if isinstance(series, BarContainer)
    }
    for label, accuracies in (("own thresholds", found.own), ("one threshold", found.pooled)):
        wanted = [accuracies.accuracies[group].value for group in names]
        scale = 100 if max(heights[label]) > 1 else 1  # of percent, or of shares
        assert heights[label][:2] == pytest.approx([scale * value for value in wanted])


@pytest.mark.parametrize("length", [12, 60])
def test_names_are_never_cut(length: int) -> None:
    names = [letter * length for letter in "ab"]
    _, lines = shown(names, "skin")
    assert not any("…" in line for line in lines)
    accuracies = "".join(line[1:].split("│")[0].strip() for line in lines)
    assert all(name in accuracies for name in names)


@pytest.mark.parametrize(
    ("protocol", "spread", "told"),
    [
        ("insightface", "std", "± standard deviation over the ten folds, as insightface prints"),
        ("exhaustive", "std", "± standard deviation over the ten folds"),
        ("facexzoo", "standard_error", "± standard error of the mean of ten folds, as FaceX-Zoo"),
    ],
)
def test_what_stands_behind_plus_and_minus_is_said(
    protocol: Protocol, spread: str, told: str
) -> None:
    same = torch.arange(2000) % 2 == 0
    distances = torch.rand(2000, generator=torch.Generator().manual_seed(0)) + 0.7 * ~same
    result = verification_accuracy(distances, same, protocol=protocol)
    report = FaceReport(results={"lfw": result}, fairness={}, about={"protocol": protocol})
    console = Console(width=80, file=StringIO())
    console.print(*report.tables())
    assert isinstance(console.file, StringIO)
    text = " ".join(console.file.getvalue().split())
    assert told in text
    assert f"{100 * result.accuracy:.2f} ± {100 * getattr(result, spread):.2f}" in text
    deviations = torch.tensor(result.fold_accuracies, dtype=torch.float64)
    assert result.std == pytest.approx(float(deviations.std(correction=0)))
    assert result.standard_error == pytest.approx(float(deviations.std()) / 10**0.5)
