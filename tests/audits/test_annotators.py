"""Labels by guidance and cuts, and from tables."""

import json
from pathlib import Path

import pytest
import torch

from qdgs_lightning.audits import AnnotationError, Attribute, PromptAnnotator, read_labels
from qdgs_lightning.guidance import PromptGuidance
from qdgs_lightning.sampling import MeasureBins
from tests.toys import ToyGuidance

BINS = [
    MeasureBins(measure=1, intervals=[(0, 0.4), (0.6, 1.1)], names=["pale", "green"]),
    MeasureBins(measure=0, intervals=[(0, 0.5), (0.5, 1.1)], names=["dim", "red"]),
]


def test_cuts_along_measures_make_labels() -> None:
    annotator = PromptAnnotator(guidance=ToyGuidance(), bins=BINS)
    annotator.prepare()
    assert annotator.attributes == (
        Attribute(name="green", classes=("pale", "green")),
        Attribute(name="red", classes=("dim", "red")),
    )
    values = torch.tensor([[0.2, 0.3, 0], [0.9, 0.5, 0], [0.5, 0.7, 1]])
    images = values[:, :, None, None].expand(-1, -1, 4, 4)
    labels, measures = annotator.measured(images)
    assert labels.tolist() == annotator(images).tolist() == [[0, 0], [-1, 1], [1, 1]]
    torch.testing.assert_close(measures, values[:, :2])
    assert annotator.measure_names == ("red", "green")
    assert annotator.measure_ends() == (None, None)
    assert PromptAnnotator(guidance=PromptGuidance(), bins=BINS).measure_ends()[0] == (
        "A red shape.",
        "A blue shape.",
    )
    assert json.loads(json.dumps(annotator.describe()))["bins"][0]["measure"] == "green"


@pytest.mark.parametrize(
    "bins",
    [
        MeasureBins(measure=2, intervals=[(0, 1)], names=["a"]),
        MeasureBins(measure=0, intervals=[(0, 1)]),
    ],
)
def test_bins_of_no_measure_or_name_are_refused(bins: MeasureBins) -> None:
    with pytest.raises(AnnotationError, match=r"from 0 \(red, green\), and give every interval"):
        PromptAnnotator(guidance=ToyGuidance(), bins=[bins])


def test_attributes_can_have_names_of_their_own() -> None:
    annotator = PromptAnnotator(guidance=ToyGuidance(), bins=BINS, attributes=["leaf", "light"])
    assert [attribute.name for attribute in annotator.attributes] == ["leaf", "light"]
    for names in (["leaf"], ["leaf", "leaf"]):
        with pytest.raises(AnnotationError, match="of 2 bins are called"):
            PromptAnnotator(guidance=ToyGuidance(), bins=BINS, attributes=names)


@pytest.mark.parametrize("classes", [(), ("a", "a"), ("a", "none")])
def test_senseless_classes_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(AnnotationError, match="at least one, each with its own name"):
        Attribute(name="skin", classes=classes)


def test_a_table_by_path_or_by_bare_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,skin,age\na/0.jpg,light,old\nb/1.jpg,none,\nc/0.jpg,dark,young\n")
    table = read_labels(path)
    assert table.attributes == (
        Attribute(name="skin", classes=("dark", "light")),
        Attribute(name="age", classes=("old", "young")),
    )
    assert table.find(["c/0.jpg", "x/1.jpg", "b/1.jpg"]).tolist() == [[0, 1], [-2, -2], [-1, -2]]
    with pytest.raises(AnnotationError, match=r"none of the 1 images: its first is 'a/0.jpg'"):
        table.find(["0.jpg"])

    path.write_text("image,skin\n0.jpg,light\n7,dark\n")
    table = read_labels(path, [Attribute(name="skin", classes=("light", "mixed", "dark"))])
    assert table.find(["a/0.jpg", "b/1.jpg"]).tolist() == [[0], [-2]]
    assert table.find(["7", "8"]).tolist() == [[2], [-2]]
    with pytest.raises(AnnotationError, match=r"image '0.jpg', which several"):
        table.find(["a/0.jpg", "b/0.jpg"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", r"columns \[\] and 0 rows"),
        ("name,skin\n1,light\n", "a column `image`"),
        ("image,skin\n", "0 rows"),
        ("image,skn\n1,light\n", r"no column 'skin' \(did you mean 'skn'\?\)"),
        ("image,skin\n1,light\n2,lihgt\n", r"Row 3 of .* calls skin 'lihgt' \(did you mean 'li"),
        ("image,skin\n1,light\n1,dark\n", "image '1' twice"),
        ("image,skin\n1\n", None),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: str, complaint: str | None) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    skin = [Attribute(name="skin", classes=("light", "dark"))]
    if complaint is None:  # a row that ends early says nothing
        assert read_labels(path, skin).labels.tolist() == [[-2]]
        return
    with pytest.raises(AnnotationError, match=complaint):
        read_labels(path, skin)
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_labels(tmp_path)
