"""Reports: every number in its place, and remarks where intervals need them."""

import csv
import io
import json
import math
from dataclasses import replace

import pytest
import torch

from qdgs_lightning.audits import Agreement, Annotations, Attribute, share_tables
from qdgs_lightning.audits.report import (
    SourceReport,
    report_csv,
    report_json,
    report_markdown,
    report_terminal,
)
from qdgs_lightning.sampling.quotas import Quotas

SKIN = Attribute(name="skin", classes=("light", "dark"))
AGE = Attribute(name="age", classes=("young", "old"))


def _report(
    name: str = "set",
    *,
    labels: list[list[int]] | None = None,
    truth: list[list[int]] | None = None,
    target: dict[str, float] | None = None,
    num_bootstrap: int = 20,
) -> SourceReport:
    said = torch.tensor(labels or [[0, 0]] * 30 + [[1, 0]] * 50 + [[1, 1]] * 17 + [[-2, -1]] * 3)
    known = None if truth is None else torch.tensor(truth)
    units = torch.arange(len(said))
    attributes = (SKIN, AGE)
    annotations = Annotations(
        attributes=attributes, labels=said, units=units, weights=torch.ones(len(said)).double()
    )
    targets = None if target is None else Quotas.of(target, [SKIN.classes, AGE.classes])
    tables = share_tables(
        annotations, truth=known, targets=targets, num_bootstrap=num_bootstrap, seed=4
    )
    agreement = (
        () if known is None else Agreement.of(known, said, units=units, attributes=attributes)
    )
    return SourceReport(
        name=name,
        source={"class": "Toys"},
        labelled_by={"table": "labels.csv"},
        images=len(said),
        units=len(said),
        unit="images",
        unit_guessed="",
        num_bootstrap=num_bootstrap,
        seed=4,
        tables=tables,
        agreement=agreement,
    )


def _with_truth() -> SourceReport:
    said = [[i % 2, i % 3 // 2] for i in range(120)]
    truth = [[-2, -2] if i >= 60 else [int(i % 10 < 4), said[i][1]] for i in range(120)]
    return _report("labelled", labels=said, truth=truth, target={"light": 0.25, "dark": 0.75})


def test_few_units_of_several_images_are_remarked_upon() -> None:
    plain = _report()
    assert list(plain.remarks()) == []
    for units, expected in ((20, 0), (19, 1), (1, 1)):
        remarks = list(replace(plain, unit="folders", units=units).remarks())
        assert len(remarks) == expected
    assert remarks == ["set: intervals of 1 units (folders) are rough; bring 20 or more."]
    # Images on their own have the exact interval, however few they are.
    assert list(replace(plain, units=3).remarks()) == []
    assert f"- {remarks[0]}" in report_markdown([replace(plain, unit="folders", units=1)])


def test_labels_that_are_not_drawn_evenly_are_remarked_upon() -> None:
    report = _with_truth()
    assert list(report.remarks()) == []
    skin, age = report.agreement
    (remark,) = replace(report, agreement=(skin, replace(age, p_even=2e-4))).remarks()
    assert "calls their age otherwise than that of the others (p = 0.0002)" in remark


def test_every_number_is_in_the_csv_once() -> None:
    report = _with_truth()
    rows = list(csv.DictReader(io.StringIO(report_csv([report, _report("other")]))))
    assert {row["source"] for row in rows} == {"labelled", "other"}
    found = {
        (row["attributes"], row["quantity"], row["group"]): tuple(
            float(row[end]) if row[end] else math.nan for end in ("value", "low", "high")
        )
        for row in rows
        if row["source"] == "labelled"
    }
    assert len(found) == sum(row["source"] == "labelled" for row in rows)
    for table in report.tables:
        name = " x ".join(table.attributes)
        assert table.said is not None
        assert table.of_labels is not None
        for place, group in enumerate(table.groups):
            for quantity, shares in (
                ("share", table.shares),
                ("share as said", table.said),
                ("share of labels alone", table.of_labels),
            ):
                assert found.pop((name, quantity, group)) == pytest.approx(shares[place])
            if table.target is not None:
                assert found.pop((name, "target", group))[0] == table.target[place]
        assert found.pop((name, "images", ""))[0] == 120
        assert found.pop((name, "images not known", ""))[0] == 0
        assert found.pop((name, "effective size", ""))[0] == 120
        assert found.pop((name, "no group", "")) == pytest.approx(table.unclassified)
        assert found.pop((name, "effective groups", "")) == pytest.approx(table.effective_groups)
        for other, distances in (("uniform", table.to_uniform), ("target", table.to_target)):
            if distances is not None:
                for quantity, value in (
                    ("total variation", distances.total_variation),
                    ("kl", distances.kl),
                ):
                    assert found.pop((name, f"{quantity} to {other}", "")) == pytest.approx(value)
    for each in report.agreement:
        key = (each.attribute, "annotator's accuracy", "")
        assert found.pop(key) == pytest.approx(each.accuracy)
    assert not found


def test_numbers_without_a_value_are_empty_in_csv_and_null_in_json() -> None:
    report = _report(labels=[[-1, 0]] * 5, num_bootstrap=0)
    rows = list(csv.DictReader(io.StringIO(report_csv([report]))))
    share = next(row for row in rows if row["quantity"] == "share")
    assert (share["value"], share["low"], share["high"]) == ("", "", "")
    groups = next(
        row for row in rows if row["attributes"] == "age" and "effective g" in row["quantity"]
    )
    assert (float(groups["value"]), groups["low"], groups["high"]) == (1, "", "")
    (content,) = json.loads(report_json([report]))
    assert content["tables"][0]["shares"][0] == {"value": None, "low": None, "high": None}
    page = report_markdown([report])
    assert "| light | - |" in page
    assert "| effective groups, of 2 | 1.00 |" in page


def test_the_page_shows_sets_side_by_side_with_their_notes() -> None:
    first, second = _with_truth(), _report("second")
    page = report_markdown([first, second])
    (skin, *_), (other, *_) = first.tables, second.tables
    assert skin.said is not None
    assert skin.of_labels is not None
    dark, alone = skin.shares[1], skin.of_labels[1]
    notes = (
        f"said {100 * skin.said[1].value:.1f}, 60 labels alone {100 * alone.value:.1f} "
        f"[{100 * alone.low:.1f}, {100 * alone.high:.1f}], target 75.0"
    )
    cell = f"{100 * dark.value:.1f} [{100 * dark.low:.1f}, {100 * dark.high:.1f}] ({notes})"
    plain = other.shares[1]
    beside = f"{100 * plain.value:.1f} [{100 * plain.low:.1f}, {100 * plain.high:.1f}]"
    assert f"| dark | {cell} | {beside} |" in page
    assert "| skin, % | labelled | second |\n| --- | --- | --- |" in page
    assert "| images that show a group | 120 | 97 |" in page
    assert "| images without a label | 0 | 3 |" in page
    assert "| effective size, units | 120 | 97 |" in page
    assert "**second**: 100 images of 100 units (images), " in page
    # A set without targets has no distance to them.
    (line,) = (line for line in page.splitlines() if line.startswith("| distance to the targets"))
    assert skin.to_target is not None
    assert line.count("|") == 3
    assert f"{100 * skin.to_target.total_variation.value:.1f} [" in line
    assert page.count("truly (said:)") == 2
    assert "images without a label" not in report_markdown([first])
    guessed = replace(second, unit="folders", unit_guessed="records have identities")
    assert "(folders, guessed: records have identities)" in report_markdown([guessed])


def test_a_terminal_shows_the_rows_of_the_page() -> None:
    report = _with_truth()
    shown = list(report_terminal([report]))
    assert len(shown) == len(report.tables) + len(report.agreement)
    skin = shown[0]
    assert [column.header for column in skin.columns] == ["skin, %", "labelled"]
    lines = report_markdown([report]).splitlines()
    for cells in zip(*(column.cells for column in skin.columns), strict=True):
        assert f"| {' | '.join(map(str, cells))} |" in lines
    # A rule parts the groups from what is said of all of them.
    assert [row.end_section for row in skin.rows][:3] == [False, True, False]
    confusion = shown[len(report.tables)]
    assert [column.header for column in confusion.columns] == report.agreement[0].lines()[0]
    assert list(confusion.columns[0].cells)[-1] == "said rightly, % of 60"
