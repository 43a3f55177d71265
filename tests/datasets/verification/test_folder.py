"""Lists of pairs in the formats of their authors, and lists that are none."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from qdgs_lightning.datasets import VerificationDataError, load_verification_pairs
from qdgs_lightning.datasets.verification.pairs_list import Pair, read_pairs_file
from tests.datasets.pictures import write_image


def listed(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def with_images(root: Path, names: Iterable[str]) -> Path:
    """Write images whose red counts them, in the order of the names."""
    for number, name in enumerate(names):
        write_image(root / name, (20 * number, 0, 0))
    return root


def red(path: Path, pairs: Path | None = None) -> list[tuple[list[int], bool]]:
    """Return which images a set has in its pairs, by their red."""
    found = load_verification_pairs(path, pairs=pairs)
    values = [round(float(found[i][0][0].float().mean()) / 20) for i in range(len(found))]
    return [
        ([values[i] for i in pair], same)
        for pair, same in zip(found.pairs.tolist(), found.is_same.tolist(), strict=True)
    ]


@pytest.mark.parametrize("header", [["1\t2"], ["2"], []])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_lfw(tmp_path: Path, header: list[str], suffix: str) -> None:
    names = [f"{name}/{name}_000{i}{suffix}" for name in ("Ann_B", "Cy") for i in (1, 2)]
    root = with_images(tmp_path / "lfw", names)
    lines = ["Ann_B\t1\t2", "Ann_B\t2\tCy\t1", "Cy\t2\t1", "Cy\t2\tAnn_B\t1"]
    listed(root / "pairs.txt", *header, *lines)
    expected = [([0, 1], True), ([1, 2], False), ([3, 2], True), ([3, 0], False)]
    assert red(root) == expected


def test_agedb_and_what_insightface_s_tools_take(tmp_path: Path) -> None:
    root = with_images(tmp_path / "agedb_30", ["a/1.jpg", "a/2.jpg", "b/1.jpg"])
    path = listed(tmp_path / "agedb_30_pair.txt", "a/1.jpg a/2.jpg 1", "a/1.jpg b/1.jpg 0")
    assert red(root) == red(root, path) == [([0, 1], True), ([0, 2], False)]
    listed(path, "a/1.jpg a/2.jpg 1", "a/1.jpg b/1.jpg -1", "b/1.jpg b/1.jpg 1")
    assert red(root) == [([0, 1], True), ([0, 2], False), ([2, 2], True)]


def test_commas_in_names_part_no_words_where_a_line_has_a_tab(tmp_path: Path) -> None:
    lines = "a,x.png a,y.png 1", "a, x.png\tb,x.png\t0", "b,y.png b,x.png 1"
    found = read_pairs_file(listed(tmp_path / "pairs.txt", *lines))
    assert found.pairs == [
        Pair("a,x.png", "a,y.png", True),
        Pair("a, x.png", "b,x.png", False),
        Pair("b,y.png", "b,x.png", True),
    ]
    assert found.dialect.startswith("tab-separated")


def test_calfw_and_cplfw(tmp_path: Path) -> None:
    root = with_images(tmp_path / "calfw", ["A_0001.jpg", "A_0002.jpg", "B_0001.jpg"])
    lines = ["A_0001.jpg 7", "A_0002.jpg 7", "B_0001.jpg 0", "A_0001.jpg 0"]
    listed(root / "pairs_CALFW.txt", *lines, "B_0001.jpg 10", "B_0001.jpg 10")
    assert red(root) == [([0, 1], True), ([2, 0], False), ([2, 2], True)]


def test_kinds_that_stand_apart_are_dealt_out_to_ten_folds(tmp_path: Path) -> None:
    # As FaceX-Zoo deals out the 3,000 and 3,000 of CALFW: 300 of each to a fold, in their order.
    same = [line for i in range(3000) for line in (f"s{i}.jpg 1", f"t{i}.jpg 1")]
    different = [line for i in range(3000) for line in (f"u{i}.jpg 0", f"v{i}.jpg 0")]
    pairs = read_pairs_file(listed(tmp_path / "pairs.txt", *same, *different)).pairs
    for fold in range(10):
        part = pairs[600 * fold : 600 * (fold + 1)]
        numbers = range(300 * fold, 300 * (fold + 1))
        assert part[:300] == [Pair(f"s{i}.jpg", f"t{i}.jpg", True) for i in numbers]
        assert part[300:] == [Pair(f"u{i}.jpg", f"v{i}.jpg", False) for i in numbers]


def test_kinds_that_alternate_stay_in_order(tmp_path: Path) -> None:
    lines = [f"a{i}.jpg b{i}.jpg {i // 3 % 2}" for i in range(60)]
    pairs = read_pairs_file(listed(tmp_path / "pairs.txt", *lines)).pairs
    assert [pair.first for pair in pairs] == [f"a{i}.jpg" for i in range(60)]


def cfp(root: Path) -> Path:
    """Write CFP with two people."""
    frontal = [f"Data/Images/00{p}/frontal/0{i}.jpg" for p in (1, 2) for i in (1, 2)]
    profile = [f"Data/Images/00{p}/profile/01.jpg" for p in (1, 2)]
    with_images(root, [*frontal, *profile])
    protocol = root / "Protocol"
    for letter, paths in (("F", frontal), ("P", profile)):
        lines = [f"{number}   ../{path}" for number, path in enumerate(paths, start=1)]
        listed(protocol / f"Pair_list_{letter}.txt", *lines)
    for fold, (same, different) in {"01": ("1,1", "1,2"), "02": ("3,2", "4,1")}.items():
        listed(protocol / "Split" / "FP" / fold / "same.txt", same)
        listed(protocol / "Split" / "FP" / fold / "diff.txt", different)
    listed(protocol / "Split" / "FF" / "01" / "same.txt", "1,2")
    listed(protocol / "Split" / "FF" / "01" / "diff.txt", "1,3")
    return root


def test_cfp(tmp_path: Path) -> None:
    profiles = [([0, 4], True), ([0, 5], False), ([2, 5], True), ([3, 4], False)]
    frontals = [([0, 1], True), ([0, 2], False)]
    root = cfp(tmp_path / "cfp_fp")
    assert red(root) == profiles
    assert red(root, root / "Protocol" / "Split" / "FF") == frontals
    assert red(root.rename(tmp_path / "cfp_ff")) == frontals


@pytest.mark.parametrize(
    ("place", "other"),
    [
        ("set/pairs.txt", None),
        ("set/my_pairs.txt", None),
        ("set/PAIRS.txt", "pairs.txt"),
        ("set/pairs.txt", "set/other_pairs.txt"),
        ("set_pairs.txt", "pairs.txt"),
        ("pairs_SET.txt", "pairs.txt"),
        ("pairs.txt", "readme.txt"),
    ],
)
def test_where_lists_are_looked_for(tmp_path: Path, place: str, other: str | None) -> None:
    root = with_images(tmp_path / "set", ["a.jpg", "b.jpg"])
    listed(tmp_path / place, "a.jpg b.jpg 1")
    if other is not None:
        listed(tmp_path / other, "b.jpg a.jpg 1")
    assert red(root) == [([0, 1], True)]


def test_lists_that_cannot_be_told_apart(tmp_path: Path) -> None:
    root = with_images(tmp_path / "set", ["a.jpg"])
    with pytest.raises(VerificationDataError, match=r"has no pairs\.txt in it nor beside it; name"):
        load_verification_pairs(root)
    for name in ("train_pairs.txt", "test_pairs.txt"):
        listed(root / name, "a.jpg a.jpg 1")
    with pytest.raises(
        VerificationDataError, match=r"but test_pairs\.txt and train_pairs\.txt; name the list"
    ):
        load_verification_pairs(root)


def test_absent_images_are_counted_and_one_is_named(tmp_path: Path) -> None:
    root = with_images(tmp_path / "set", ["a/a_0001.jpg"])
    path = listed(root / "pairs.txt", "a\t1\t2", "a\t1\tb\t1", "a\t1\tc\t1")
    with pytest.raises(
        VerificationDataError, match=r"names 3 images that are not in .*a/a_0002"
    ) as e:
        load_verification_pairs(root)
    assert str(path) in str(e.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "is empty"),
        (["10\t300"], "lists 0 pairs where its first line says 6000"),
        (["1\t2", "a\t1\t2"], "lists 1 pairs where its first line says 4"),
        (["a 1 2", "", "a 1"], "Line 3 of .* is none of"),
        (["a 1 2", "a x 2 y z"], "Line 2 of .* is none of"),
        (["a.jpg b.jpg perhaps"], "Line 1 of .* is none of"),
        (["a.jpg 1", "b.jpg 1", "c.jpg 0"], "Line 3 of .* has no second line"),
        (["a.jpg 1", "b.jpg 0"], "Line 2 of .* is not that of the line before"),
        (["a.jpg 1", "b.jpg 1", "a b 1", "c d 1"], "Line 3 of .* is not `path flag`"),
        (["a.jpg b.jpg"], "Line 1 of .* has no second line"),
        (["1 b.jpg 0", "0 c.jpg 0"], "Line 1 of .* can be `path1 path2 flag` and `flag path1 pa"),
        (["1 a.jpg b.jpg", "a.jpg b.jpg 1"], "Line 2 of .* is none of"),
        (["a.jpg b.jpg 0.73"], "Line 1 of .* is none of"),
        (["name,other,same,label", "a,b,1,0"], "Line 1 of .*as a header it should name"),
        (["a.jpg,b.jpg,1", "a.jpg b.jpg 0"], "Line 2 of .* is none of|Line 1"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, lines: list[str], message: str) -> None:
    path = listed(tmp_path / "pairs.txt", *lines)
    with pytest.raises(VerificationDataError, match=message):
        read_pairs_file(path)


A, B, C = "a/1.JPG", "b c/2.webp", "b c/3.jpeg"
DIALECTS: dict[str, tuple[list[str], str]] = {
    "comma": ([f"{A},{B},1", f"{C},{B},0"], "comma-separated `path1 path2 flag`"),
    "semicolon": ([f"{A};{B};1", f"{C};{B};0"], "semicolon-separated `path1 path2 flag`"),
    "tab": ([f"{A}\t{B}\t1", f"{C}\t{B}\t0"], "tab-separated `path1 path2 flag`"),
    "words": ([f"{A},{B},True", f"{C},{B},False"], "comma-separated `path1 path2 flag`"),
    "floats": ([f"{A},{B},1.0", f"{C},{B},-1.0"], "comma-separated `path1 path2 flag`"),
    "flag first": ([f"1,{A},{B}", f"0,{C},{B}"], "comma-separated `flag path1 path2`"),
    "flag first, words": ([f"same\t{A}\t{B}", f"diff\t{C}\t{B}"], "tab-separated `flag path1"),
    "header": (
        ["Image 1,Image 2,Label", f'"{A}",{B},1', f"{C},{B},0"],
        "columns Image 1, Image 2, Label, with a header",
    ),
    "columns in another order": (
        ["fold,is_same,path_a,path_b", f"1,yes,{A},{B}", f"1,no,{C},{B}"],
        "columns path_a, path_b, is_same, with a header",
    ),
    "unnamed images": (["same,x,y1", f"1,{A},{B}", f"0,{C},{B}"], "columns x, y1, same"),
    "unnamed flag": (["img1\timg2\tfriend", f"{A}\t{B}\t1", f"{C}\t{B}\t0"], "img2, friend"),
    "two lines": ([f"{A}\t1", f"{B}\t1", f"{C}\t0", f"{B}\t0"], "`path flag` on two lines"),
    "no suffix": (["a/1,b c/2,1", "b c/3,b c/2,0"], "comma-separated `path1 path2 flag`"),
    "another suffix": (["a/1.jpg,b c/2.png,1", "b c/3.bmp,b c/2.jpg,0"], "comma-separated"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_that_people_write(tmp_path: Path, dialect: str) -> None:
    lines, told = DIALECTS[dialect]
    root = with_images(tmp_path / "set", [A, B, C])
    path = listed(tmp_path / "any.csv", *lines)
    assert red(root, path) == [([0, 1], True), ([2, 1], False)]
    found = load_verification_pairs(root, pairs=path).dialect
    assert str(path) in found
    assert told in found


@pytest.mark.parametrize("digits", [1, 4, 5, 6])
@pytest.mark.parametrize("written", ["1", "0001", "00001"])
def test_numbers_of_lfw_with_any_zeros(tmp_path: Path, digits: int, written: str) -> None:
    names = [f"Ann/Ann_{number:0{digits}}.JPG" for number in (1, 11)]
    root = with_images(tmp_path / "set", [*names, f"Bo/Bo_{1:0{digits}}.JPG"])
    listed(root / "pairs.txt", f"Ann\t{written}\t11", f"Ann\t11\tBo\t{written}")
    assert red(root) == [([0, 1], True), ([1, 2], False)]


def test_lfw_of_kaggle_has_headers_and_empty_cells(tmp_path: Path) -> None:
    root = with_images(tmp_path / "lfw", ["Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bo/Bo_0003.jpg"])
    listed(root / "pairs.csv", "name,imagenum1,imagenum2,", "Ann,1,2,", "Ann,2,Bo,3")
    assert red(root) == [([0, 1], True), ([1, 2], False)]


@pytest.mark.parametrize(
    ("encoding", "name", "line"),
    [
        ("utf-16", "UTF-16", 1),
        ("utf-16-le", "UTF-16", 1),
        ("latin-1", "Latin-1", 2),
        ("gb18030", "GB18030", 2),
    ],
)
def test_another_encoding_is_named_with_the_line(
    tmp_path: Path, encoding: str, name: str, line: int
) -> None:
    person = "\u5f20\u4f1f" if encoding == "gb18030" else "Jos\xe9"
    path = tmp_path / "pairs.txt"
    path.write_bytes(f"Ann\t1\t2\n{person}\t1\t2\n".encode(encoding))
    with pytest.raises(VerificationDataError, match=rf"line {line} is not in UTF-8 .* {name}"):
        read_pairs_file(path)
    path.write_text(f"Ann\t1\t2\n{person}\t1\t2\n", encoding="utf-8-sig")
    assert read_pairs_file(path).pairs[1].first == f"{person}/{person}_0001"


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(VerificationDataError, match="cannot be read as a list of pairs"):
        read_pairs_file(tmp_path / "pairs.txt")
    (tmp_path / "pairs.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(VerificationDataError, match="cannot be read as a list of pairs"):
        read_pairs_file(tmp_path / "pairs.txt")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("Split/FP/01/same.txt", "1,9", r"Line 1 of .*same\.txt .*not two numbers of images"),
        ("Split/FP/02/diff.txt", "1;2", r"Line 1 of .*diff\.txt"),
        ("Split/FP/02/diff.txt", "1,2,3", r"Line 1 of .*diff\.txt"),
        ("Pair_list_P.txt", "one path", r"Line 1 of .*Pair_list_P\.txt .*not `number path`"),
        ("Pair_list_F.txt", "", r"Pair_list_F\.txt is empty"),
    ],
)
def test_damage_of_cfp(tmp_path: Path, file: str, line: str, message: str) -> None:
    root = cfp(tmp_path / "cfp_fp")
    listed(root / "Protocol" / file, line)
    with pytest.raises(VerificationDataError, match=message):
        load_verification_pairs(root)


def test_a_split_of_cfp_without_folds(tmp_path: Path) -> None:
    root = cfp(tmp_path / "cfp_fp")
    empty = root / "Protocol" / "Split" / "EMPTY"
    empty.mkdir()
    with pytest.raises(VerificationDataError, match="holds no fold"):
        load_verification_pairs(root, pairs=empty)


def test_an_image_in_many_pairs_is_there_once(tmp_path: Path) -> None:
    root = with_images(tmp_path / "set", ["a.jpg", "b.jpg"])
    listed(root / "pairs.txt", *(f"a.jpg b.jpg {i % 2}" for i in range(20)))
    pairs = load_verification_pairs(root)
    assert len(pairs) == 2
    assert torch.equal(pairs.pairs, torch.tensor([[0, 1]] * 20))
