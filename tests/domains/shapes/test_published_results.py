"""Intervals that ship with the package are those of the pages, and are shown where they belong."""

import json
from pathlib import Path

import pytest

from qdgs_lightning.domains.shapes.demo import _table
from qdgs_lightning.domains.shapes.published_results import shipped_intervals, write_summary
from qdgs_lightning.domains.shapes.study_report import markdown

PAGES = Path(__file__).parents[3] / "docs" / "results"


def rows_of(page: str, title: str) -> dict[str, dict[str, str]]:
    """Read the table below a heading of a page: cells by bias and arm."""
    lines = iter(page.partition(f"### {title}")[2].splitlines())
    table = []
    for line in lines:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            break
    head, _, *rows = table
    return {f"{float(bias):g}": dict(zip(head[1:], cells, strict=True)) for bias, *cells in rows}


@pytest.mark.parametrize("overlay", [None, Path("configs/shapes_rare.yaml")])
def test_what_ships_is_what_the_page_says(overlay: Path | None) -> None:
    page = (PAGES / f"{overlay.stem if overlay else 'shapes'}.md").read_text()
    for name, title in (("balanced", "Balanced accuracy"), ("worst", "Worst group")):
        for bias, cells in rows_of(page, title).items():
            shipped = shipped_intervals(overlay, float(bias))
            assert {arm: str(numbers[name]) for arm, numbers in shipped.items()} == cells
            assert {numbers[name].size for numbers in shipped.values()} == {10}


def test_nothing_is_claimed_of_other_experiments() -> None:
    assert shipped_intervals(Path("my_own.yaml"), 0.98) == {}
    assert shipped_intervals(None, 0.5) == {}
    assert shipped_intervals(None, None) == {}


def test_a_summary_has_the_numbers_of_the_page(tmp_path: Path) -> None:
    results = [
        {"arm": arm, "bias": 0.9, "seed": seed, "test": {"balanced": share, "worst": share / 2}}
        for arm, shares in {"none": (0.5, 0.7), "qd": (0.8, 0.9)}.items()
        for seed, share in enumerate(shares)
    ]
    write_summary(tmp_path / "summary.json", results)
    told = json.loads((tmp_path / "summary.json").read_text())
    page = markdown(results)
    for name, title in (("balanced", "Balanced accuracy"), ("worst", "Worst group")):
        for arm, cell in rows_of(page, title)["0.9"].items():
            mean, half = told["biases"]["0.9"][arm][name]
            assert f"{100 * mean:.1f} ± {100 * half:.1f}" == cell
    assert told["seeds"] == 2
    write_summary(tmp_path / "one.json", results[:1])
    told = json.loads((tmp_path / "one.json").read_text())
    assert told["biases"]["0.9"]["none"]["balanced"] == [0.5, None]


def test_the_table_of_the_demo_shows_them_beside_its_own() -> None:
    shown = {"random": {"balanced": 0.94, "gap": 0.1}}
    table = _table(shown, shipped_intervals(Path("configs/shapes_rare.yaml"), 0.98))
    assert list(table.columns[1].cells) == ["94.0 (82.1 ± 5.3)", "10.0"]
    assert table.caption == "In brackets: mean of 10 seeds ± 95 % interval"
