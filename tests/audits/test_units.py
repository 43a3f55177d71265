"""What is taken for a unit, and what is asked about."""

from pathlib import Path

import pytest
import torch

from qdgs_lightning.audits import AnnotationError, AuditError, ImageSet, UnitColumn
from qdgs_lightning.audits.units import Unit, Units
from tests.datasets.face_sets import copied, image_file

CPU = torch.device("cpu")


def folders(root: Path, *names: str) -> Path:
    """Make an image under each name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image_file("PNG", "RGB", side=8))
    return root


def units(root: Path, unit: Unit | None = None) -> Units:
    return ImageSet(root, units=unit).open(CPU).units


def test_a_flat_folder_is_of_images(tmp_path: Path) -> None:
    found = units(folders(tmp_path, "b.png", "a.png", ".hidden.png"))
    assert (found.of.tolist(), found.kind) == ([0, 1], "images")
    assert found.guessed == "they lie in no folder of their own"
    assert units(tmp_path, "images").guessed == ""


def test_parts_of_a_data_set_are_no_people(tmp_path: Path) -> None:
    found = units(folders(tmp_path / "flat", "train/1.png", "train/2.png", "val/1.png"))
    assert (found.of.tolist(), found.kind) == ([0, 1, 2], "images")
    assert found.guessed == "they lie in no folder but train and val"
    names = ("train/ann/1.png", "train/bob/1.png", "test_set/ann/2.png")
    nested = folders(tmp_path / "nested", *names)
    found = units(nested, "folders")
    opened = ImageSet(nested, units="folders").open(CPU)
    assert dict(zip(opened.names, found.of.tolist(), strict=True)) == {
        "test_set/ann/2.png": 0,
        "train/ann/1.png": 0,
        "train/bob/1.png": 1,
    }


def test_folders_are_guessed_to_be_people_where_they_are_many(tmp_path: Path) -> None:
    """Two may be classes, and an interval of two would tell nothing."""
    people = [f"{name:03d}/{image}.png" for name in range(20) for image in range(2)]
    found = units(folders(tmp_path / "many", *people))
    assert (len(found), found.kind) == (20, "folders")
    assert found.guessed.startswith("there are 20 folders")
    few = folders(tmp_path / "few", *people[:38])
    with pytest.raises(AuditError, match=r"has 19 folders \(000, 001, 002, \.\.\.\): set `units`"):
        units(few)
    assert len(units(few, "folders")) == 19
    assert len(units(few, "images")) == 38
    mixed = folders(tmp_path / "many", "loose.png")
    with pytest.raises(AuditError, match=r"20 folders .* and images beside them: set `units`"):
        units(mixed)
    with pytest.raises(AuditError, match=r"1 images of .* lie in no folder .* such as loose.png"):
        units(mixed, "folders")


def test_a_single_unit_is_refused(tmp_path: Path) -> None:
    root = folders(tmp_path, "ann/1.png", "ann/2.png")
    with pytest.raises(AuditError, match=r"All 2 images of .* are of one unit \(folders\)"):
        units(root, "folders")


def test_records_have_identities(tmp_path: Path) -> None:
    found = units(copied(tmp_path / "set"))
    assert (len(found), len(found.of), found.guessed) == (3, 9, "records have identities")
    assert len(units(tmp_path / "set", "images")) == 9


def test_a_column_of_a_table(tmp_path: Path) -> None:
    root = folders(tmp_path / "set", "x/1.png", "x/2.png", "y/3.png")
    table = tmp_path / "people.csv"
    table.write_text("image,person\n3.png,ann\n1.png,ann\n2.png,bob\nother.png,eve\n")
    found = units(root, UnitColumn(table=table, column="person"))
    assert (found.of.tolist(), found.kind) == ([0, 1, 0], f"column person of {table}")
    with pytest.raises(AnnotationError, match=r"no column 'persn' \(did you mean 'person'"):
        units(root, UnitColumn(table=table, column="persn"))
    table.write_text("image,person\n3.png,ann\n1.png,\n")
    with pytest.raises(AnnotationError, match=r"gives 2 of 3 images no person, such as 'x/1.png'"):
        units(root, UnitColumn(table=table, column="person"))


def test_the_first_folder_that_is_no_part_of_a_data_set_is_the_unit(tmp_path: Path) -> None:
    names = ("ann/a/1.png", "ann/b/1.png", "bob/train/1.png", "Valid-Set 2/ann/2.png")
    opened = ImageSet(folders(tmp_path, *names), units="folders").open(CPU)
    found = dict(zip(opened.names, opened.units.of.tolist(), strict=True))
    ann, bob = found["ann/a/1.png"], found["bob/train/1.png"]
    assert [found[name] for name in names] == [ann, ann, bob, ann]
    assert ann != bob
    assert len(opened.units) == 2
