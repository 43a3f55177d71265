"""``qdgs audit``: what it says of sets whose shares are known, and to nonsense."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pyarrow import parquet
from scipy.stats import binomtest
from torch import Tensor

from qdgs_lightning.audits import Annotator, Attribute
from qdgs_lightning.cli.main import main
from qdgs_lightning.search import Archive, QDSearch, SearchConfig
from qdgs_lightning.utils.seeding import seeded_generator
from tests.datasets.face_sets import photos
from tests.toys import ToyGenerator, ToyGuidance

BINS = [
    {"measure": 0, "intervals": [[0, 0.5], [0.5, 1.1]], "names": ["dim", "red"]},
    {"measure": 1, "intervals": [[0, 0.45], [0.55, 1.1]], "names": ["pale", "green"]},
]
ANNOTATOR = {
    "class_path": "PromptAnnotator",
    "init_args": {"guidance": {"class_path": "tests.toys.ToyGuidance"}, "bins": BINS},
}
PRIOR = {
    "class_path": "PriorSamples",
    "init_args": {"generator": {"class_path": "tests.toys.ToyGenerator"}, "n": 500},
}


class Wrong(Annotator):
    """Returns labels of no class."""

    attributes = (Attribute(name="skin", classes=("light", "dark")),)

    def forward(self, images: Tensor) -> Tensor:
        """Be wrong."""
        return torch.full((len(images), 1), 2)

    def describe(self) -> dict[str, object]:
        """Say nothing."""
        return {}


def _run(folder: Path, **settings: object) -> list[dict[str, Any]]:
    """Run the command as a configuration says, and return what it wrote."""
    path, output = folder / "audit.yaml", folder / "out"
    content = {"accelerator": "cpu", "num_bootstrap": 40, "output": str(output), **settings}
    path.write_text(yaml.safe_dump(content))
    main(["audit", "--config", str(path)])
    reports: list[dict[str, Any]] = json.loads((output / "audit.json").read_text())
    return reports


def _truth(images: Tensor) -> list[float]:
    """Shares of dim and red by the definition of the toys."""
    red = images.mean(dim=(2, 3))[:, 0] >= 0.5
    return [float((~red).double().mean()), float(red.double().mean())]


def _values(report: dict[str, Any], table: int) -> list[float]:
    return [share["value"] for share in report["tables"][table]["shares"]]


def test_prior_and_elites_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SearchConfig(grid=(8, 8), algorithm="random", calibration=64)
    search = QDSearch(ToyGenerator(), ToyGuidance(), config)
    search.run(300)
    search.archive.save(tmp_path / "archive.safetensors")
    elites = {
        "class_path": "Elites",
        "init_args": {
            "archive": str(tmp_path / "archive.safetensors"),
            "generator": {"class_path": "tests.toys.ToyGenerator"},
        },
    }
    targets = {"dim": 0.25, "red": 0.75}
    prior, archive = _run(
        tmp_path, source=PRIOR, versus=elites, annotator=ANNOTATOR, targets=targets, seed=3
    )
    with torch.no_grad():
        latents = ToyGenerator().sample_latents(500, seeded_generator(0))
        of_prior = _truth(ToyGenerator()(latents))
        of_elites = _truth(ToyGenerator()(Archive.load(tmp_path / "archive.safetensors").latents))
    assert _values(prior, 0) == pytest.approx(of_prior)
    assert _values(archive, 0) == pytest.approx(of_elites)
    red, green, both = prior["tables"]
    assert (red["attributes"], red["groups"]) == (["red"], ["dim", "red"])
    assert green["unclassified"]["value"] > 0.1
    assert both["groups"] == ["dim pale", "dim green", "red pale", "red green"]
    assert red["target"] == [0.25, 0.75]
    assert red["to_target"]["total_variation"]["value"] == pytest.approx(abs(of_prior[0] - 0.25))
    assert green["target"] is None
    assert prior["labelled_by"]["class"] == "PromptAnnotator"
    assert prior["source"]["generator"].startswith("ToyGenerator-")
    assert (prior["num_bootstrap"], archive["seed"]) == (40, 3)

    output = tmp_path / "out"
    assert sorted(path.name for path in output.iterdir()) == [
        "audit.csv",
        "audit.json",
        "audit.md",
        "density.png",
        "labels.parquet",
    ]
    rows = list(csv.DictReader((output / "audit.csv").open()))
    first = rows[0]
    assert (first["source"], first["quantity"], first["group"]) == ("prior", "share", "dim")
    assert float(first["low"]) <= float(first["value"]) == of_prior[0] <= float(first["high"])
    page = (output / "audit.md").read_text()
    cell = f"| dim | {100 * of_prior[0]:.1f} [{100 * float(first['low']):.1f}, "
    assert cell in page
    assert "(target 25.0)" in page
    assert "by 40 bootstrap replicates of seed 3" in page
    assert "| red x green, % | prior | archive |" in page
    distances = archive["tables"][0]["to_uniform"]
    for line, digits, quantity, times in (
        ("distance to even shares, %", 1, "total_variation", 100),
        ("divergence from even shares, nats", 3, "kl", 1),
    ):
        row = next(row for row in page.splitlines() if row.startswith(f"| {line} |"))
        assert f" | {times * distances[quantity]['value']:.{digits}f} [" in row
    assert "| effective groups, of 2 |" in page
    told = capsys.readouterr().out
    assert re.search(rf"dim +│ {100 * of_prior[0]:.1f} \[", told)
    assert "Tables as JSON, CSV and Markdown" in told


def test_tables_need_no_annotator_and_agree_on_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photos(tmp_path / "faces", [2, 2, 2, 1])
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    names = [f"id{i:02d}/{j:03d}.jpg" for i, n in enumerate([2, 2, 2, 1]) for j in range(n)]
    skins = ["light", "light", "dark", "dark", "light", "dark", ""]
    lines = [f"{name},{skin}" for name, skin in zip(names, skins, strict=True)]
    one.write_text("\n".join(["image,skin", *lines]) + "\n")
    two.write_text(f"image,skin\n{names[0]},mixed\n")

    def image_set(labels: Path) -> dict[str, object]:
        init_args = {
            "path": str(root),
            "units": "folders",
            "labels": str(labels),
            "name": labels.stem,
        }
        return {"class_path": "ImageSet", "init_args": init_args}

    first, second = _run(tmp_path, source=image_set(one), versus=image_set(two))
    assert first["tables"][0]["groups"] == ["dark", "light", "mixed"]
    assert _values(first, 0) == [0.5, 0.5, 0]
    assert _values(second, 0) == [0, 0, 1]
    assert first["tables"][0]["unclassified"]["value"] == 0  # an empty cell is not "none"
    assert [report["tables"][0]["unknown"] for report in (first, second)] == [1, 6]
    assert "| images without a label | 1 | 6 |" in (tmp_path / "out" / "audit.md").read_text()
    assert (first["images"], first["units"]) == (7, 4)
    assert first["labelled_by"] == {"table": str(one)}
    assert (first["unit"], first["unit_guessed"]) == ("folders", "")
    told = capsys.readouterr().out
    assert "one: intervals of 4 units (folders) are rough; bring 20 or more." in told
    assert "taken to be" not in told
    labels = parquet.read_table(tmp_path / "out" / "labels.parquet")
    assert labels.column_names == ["source", "image", "unit", "weight", "skin"]
    assert labels["source"].to_pylist() == ["one"] * 7 + ["two"] * 7
    assert labels["image"].to_pylist() == names * 2
    assert labels["skin"].to_pylist() == [*skins[:6], None, "mixed", *[None] * 6]
    assert labels["unit"].to_pylist() == [0, 0, 1, 1, 2, 2, 3] * 2
    assert not (tmp_path / "out" / "density.png").exists()


def test_labelled_images_correct_the_annotator(tmp_path: Path) -> None:
    """The truth is that half of what is called dim is red: errors are known, shares follow."""
    with torch.no_grad():
        images = ToyGenerator()(ToyGenerator().sample_latents(500, seeded_generator(0)))
    said = (images.mean(dim=(2, 3))[:, 0] >= 0.5).long()
    truth = torch.where((said == 0) & (torch.arange(500) % 2 == 0), 1, said)
    lines = [f"{i},{('dim', 'red')[label]}" for i, label in enumerate(truth.tolist())]
    labelled = tmp_path / "labelled.csv"
    labelled.write_text("\n".join(["image,light", *lines]) + "\n")
    annotator = {
        "class_path": "PromptAnnotator",
        "init_args": {
            "guidance": {"class_path": "tests.toys.ToyGuidance"},
            "bins": BINS[:1],
            "attributes": ["light"],
        },
    }
    (report,) = _run(tmp_path, source=PRIOR, annotator=annotator, labelled=str(labelled))
    (shares,) = report["tables"]
    red = float(truth.double().mean())
    assert _values(report, 0) == pytest.approx([1 - red, red])
    assert shares["said"][1]["value"] == pytest.approx(float(said.double().mean()))
    assert shares["shares"][1]["low"] < red < shares["shares"][1]["high"]
    for alone, both in zip(shares["of_labels"], shares["shares"], strict=True):
        assert alone == pytest.approx(both)  # for the truth of all images is known
    assert report["labelled_by"]["errors"] == str(labelled)
    page = (tmp_path / "out" / "audit.md").read_text()
    assert "500 labels alone" in page
    (agreement,) = report["agreement"]
    assert agreement["accuracy"]["value"] == float((said == truth).double().mean())
    assert agreement["confusion"]["dim"] == {"dim": int((1 - truth).sum()), "red": 0, "none": 0}
    assert f"said rightly, % of 500 | {100 * agreement['accuracy']['value']:.1f} [" in page
    table = parquet.read_table(tmp_path / "out" / "labels.parquet")
    assert table["light"].to_pylist() == [("dim", "red")[label] for label in said.tolist()]
    assert table["true light"].to_pylist() == [("dim", "red")[label] for label in truth.tolist()]
    measured = torch.tensor(table["measure red"].to_pylist())
    torch.testing.assert_close(measured, images.mean(dim=(2, 3))[:, 0])

    right, wrong = int((truth * said).sum()), int((truth * (1 - said)).sum())
    rows = {"dim": {"dim": int((1 - truth).sum())}, "red": {"red": right, "dim": wrong}}
    (tmp_path / "errors.json").write_text(json.dumps({"light": rows}))
    (same,) = _run(
        tmp_path, source=PRIOR, annotator=annotator, confusion=str(tmp_path / "errors.json")
    )
    assert _values(same, 0) == pytest.approx(_values(report, 0))


def test_a_few_labels_and_the_annotator_are_taken_together(tmp_path: Path) -> None:
    """No interval is wider than that of the labels, which is the exact one."""
    with torch.no_grad():
        images = ToyGenerator()(ToyGenerator().sample_latents(500, seeded_generator(0)))
    said = (images.mean(dim=(2, 3))[:, 0] >= 0.5).long()
    truth = torch.where(torch.arange(500) % 7 == 0, 1 - said, said)
    lines = [f"{i},{('dim', 'red')[label]}" for i, label in enumerate(truth.tolist())]
    (tmp_path / "labelled.csv").write_text("\n".join(["image,red", *lines[:80]]) + "\n")
    annotator = {**ANNOTATOR, "init_args": {**ANNOTATOR["init_args"], "bins": BINS[:1]}}  # type: ignore[dict-item]
    (report,) = _run(
        tmp_path, source=PRIOR, annotator=annotator, labelled=str(tmp_path / "labelled.csv")
    )
    (table,) = report["tables"]
    exact = binomtest(int(truth[:80].sum()), 80).proportion_ci(0.95)
    both, alone = table["shares"][1], table["of_labels"][1]
    assert [alone["low"], alone["high"]] == pytest.approx([exact.low, exact.high])
    assert both["high"] - both["low"] < 0.9 * (exact.high - exact.low)
    assert both["low"] < float(truth.double().mean()) < both["high"]
    assert sum(share["value"] for share in table["shares"]) == pytest.approx(1)
    assert (table["labelled"], report["agreement"][0]["images"]) == (80, 80)


def test_the_unit_is_guessed_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = photos(tmp_path / "faces", [3, 4])
    for name, folder in (("id00", "train"), ("id01", "val")):
        (root / name).rename(root / folder)
    source = {"class_path": "ImageSet", "init_args": {"path": str(root)}}
    (report,) = _run(tmp_path, source=source, annotator=ANNOTATOR)
    assert (report["unit"], report["units"]) == ("images", 7)
    assert report["unit_guessed"] == "they lie in no folder but train and val"
    told = capsys.readouterr().out
    assert "faces: the unit of intervals is taken to be images, for they lie in no" in told


def test_nonsense_costs_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,skin\n0,light\n")
    tabled = {"class_path": "ImageSet", "init_args": {"path": "x", "labels": str(table)}}
    wrong = {"class_path": "tests.audits.test_run.Wrong"}
    for settings, complaint in (
        ({"source": PRIOR}, "Nobody says what the images of 'prior' show"),
        ({"source": PRIOR, "annotator": ANNOTATOR, "versus": PRIOR}, "Both sources are called"),
        ({"source": PRIOR, "annotator": ANNOTATOR, "cross": 0}, "cross is 0"),
        ({"source": PRIOR, "annotator": ANNOTATOR, "targets": {"redd": 1.0}}, "did you mean 'red'"),
        ({"source": PRIOR, "annotator": ANNOTATOR, "targets": {"red": 0.5}}, "sum to 0.5"),
        ({"source": PRIOR, "annotator": ANNOTATOR, "accelerator": "gpuu"}, "accelerator is gpuu"),
        ({"source": PRIOR, "annotator": ANNOTATOR, "labelled": str(table)}, "no column 'red'"),
        ({"source": tabled, "labelled": str(table)}, "tell the errors of an annotator"),
        ({"source": tabled}, "x is not there"),
        ({"source": PRIOR, "annotator": wrong}, r"Wrong returned labels .*\[64, 1\]"),
    ):
        with pytest.raises(SystemExit, match=complaint) as exit_info:
            _run(tmp_path, **settings)
        assert "\n" not in str(exit_info.value)
    assert not (tmp_path / "out").exists()
