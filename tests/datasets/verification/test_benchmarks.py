"""Several sets at once: what is there is loaded, what is not is named in one warning."""

import shutil
import warnings
from pathlib import Path

import pytest

from qdgs_lightning.datasets import BENCHMARKS, VerificationDataError, load_benchmarks
from tests.datasets.pictures import BY_OTHERS, write_image
from tests.datasets.verification.test_rfw import tree


def with_bins(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BY_OTHERS / "python2.bin", root / f"{name}.bin")
    return root


def with_folder(root: Path, name: str) -> Path:
    for image in ("a.jpg", "b.jpg"):
        write_image(root / name / image, (10, 20, 30))
    (root / name / "pairs.txt").write_text("a.jpg b.jpg 1\nb.jpg b.jpg 0\n")
    return root


def test_all_that_are_there_without_a_warning(tmp_path: Path) -> None:
    with_folder(with_bins(tmp_path, "lfw", "cfp_fp", "cplfw", "calfw"), "agedb_30")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sets = load_benchmarks(tmp_path)
    assert tuple(sets) == BENCHMARKS == ("lfw", "cfp_fp", "cplfw", "calfw", "agedb_30")
    assert [sets[name].name for name in sets] == list(BENCHMARKS)
    assert [len(pairs) for pairs in sets.values()] == [4, 4, 4, 4, 2]


def test_one_warning_names_those_that_are_absent(tmp_path: Path) -> None:
    with_bins(tmp_path, "cplfw")
    with pytest.warns(UserWarning, match="left out") as caught:
        sets = load_benchmarks(tmp_path, ("agedb_30", "cplfw", "lfw"))
    assert list(sets) == ["cplfw"]
    (warning,) = caught
    assert f"there is no {tmp_path / 'agedb_30.bin'}, {tmp_path / 'lfw.bin'}" in str(
        warning.message
    )
    assert warning.filename == __file__


def test_copies_of_adaface_are_named_and_left_out(tmp_path: Path) -> None:
    with_bins(tmp_path, "cfp_fp", "agedb_30")
    for name in ("lfw", "agedb_30"):
        (tmp_path / name / "memfile").mkdir(parents=True)
        (tmp_path / name / "memfile" / "mem_file.dat.conf").write_text("{}")
    with pytest.warns(UserWarning, match=r"lfw/memfile is a copy .* bring the lfw\.bin"):
        sets = load_benchmarks(tmp_path, ["lfw", "cfp_fp", "agedb_30"])
    assert list(sets) == ["cfp_fp", "agedb_30"]


def test_none_need_be_there(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="left out"):
        assert load_benchmarks(tmp_path / "nowhere") == {}


def test_a_file_comes_before_a_folder_and_own_names_are_taken(tmp_path: Path) -> None:
    with_folder(with_bins(tmp_path, "lfw"), "lfw")
    with_folder(tmp_path, "mine")
    sets = load_benchmarks(str(tmp_path), ["lfw", "mine"], image_size=56)
    assert [len(pairs) for pairs in sets.values()] == [4, 2]
    assert all(pairs[0][0].shape == (3, 56, 56) for pairs in sets.values())


@pytest.mark.parametrize("folder", ["rfw", "RFW", "."])
def test_rfw_stands_for_its_groups(tmp_path: Path, folder: str) -> None:
    tree(tmp_path / folder, ("African", "Asian", "Indian"))
    with_bins(tmp_path, f"{folder}/Caucasian_test", "lfw")
    sets = load_benchmarks(tmp_path, ["rfw", "lfw"])
    assert list(sets) == ["rfw_african", "rfw_asian", "rfw_caucasian", "rfw_indian", "lfw"]
    assert [sets[name].name for name in sets] == list(sets)
    assert list(load_benchmarks(tmp_path, ["rfw_indian"])) == ["rfw_indian"]


def test_own_files_of_the_groups(tmp_path: Path) -> None:
    with_bins(tmp_path, "rfw_african", "rfw_indian")
    with pytest.warns(UserWarning, match=r"rfw_asian\.bin, .*rfw_caucasian\.bin"):
        assert list(load_benchmarks(tmp_path, ["rfw"])) == ["rfw_african", "rfw_indian"]


def test_a_set_that_is_there_and_damaged_is_no_absent_one(tmp_path: Path) -> None:
    with_bins(tmp_path, "lfw")
    (tmp_path / "lfw.bin").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(VerificationDataError, match=r"lfw\.bin .*os\.system"):
        load_benchmarks(tmp_path, ["lfw"])
    (tmp_path / "cplfw").mkdir()
    with pytest.raises(VerificationDataError, match=r"cplfw has no pairs\.txt"):
        load_benchmarks(tmp_path, ["cplfw"])
