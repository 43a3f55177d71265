"""``qdgs data pack`` and ``unpack``: there and back again, whole or not at all."""

import json
import pickle
from collections import Counter
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets import RecordIODataset, pack_dataset
from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.datasets.records.file import Record, RecordFile
from qdgs_lightning.datasets.records.packing import encode_jpeg
from qdgs_lightning.datasets.verification.draw import draw_pairs
from qdgs_lightning.utils.console import DataError
from tests.datasets.face_sets import RECORDS, complaint, contents, copied, image_file, photos
from tests.faces import portraits


def run(*words: object) -> None:
    main(["data", *map(str, words)])


def records_of(root: Path) -> dict[str, object]:
    """Labels and payloads by key, in the form of the fixture that mxnet read."""
    dataset_file = RecordFile(root / "train.rec")
    found: dict[str, object] = {}
    for offset in dataset_file.scan():
        record = Record.from_bytes(dataset_file.read(offset))
        digest = sha256(record.payload).hexdigest()
        labels = list(record.labels) if record.is_metadata else list(record.labels[:1])
        found[str(record.key)] = {"labels": labels, "sha256": digest}
    return found


def test_records_to_folders_and_back_are_what_mxnet_wrote(tmp_path: Path) -> None:
    run("unpack", "--source", RECORDS / "faces", "--output", tmp_path / "folder")
    names = [f"0/{key}.jpg" for key in (1, 2, 3)] + ["1/4.jpg", "1/5.jpg"]
    assert sorted(contents(tmp_path / "folder")) == names + [f"2/{key}.jpg" for key in (6, 7, 8, 9)]
    run("pack", "--source", tmp_path / "folder", "--output", tmp_path / "packed")
    by_mxnet = json.loads((RECORDS / "read_by_mxnet.json").read_text())["faces"]
    for key in "6789":  # mxnet's fixture has vectors of labels there, of which the first counts
        by_mxnet[key]["labels"] = by_mxnet[key]["labels"][:1]
    assert records_of(tmp_path / "packed") == by_mxnet
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == [
        "property",
        "train.idx",
        "train.rec",
    ]
    assert (tmp_path / "packed" / "property").read_text() == "3,16,16\n"
    run("verify", "--path", tmp_path / "packed")


def test_images_that_lie_apart_are_grouped_by_identity(tmp_path: Path) -> None:
    source = RecordIODataset(RECORDS / "plain")  # labels 0 1 0 1 0, no metadata
    run("pack", "--source", RECORDS / "plain" / "train.rec", "--output", tmp_path / "packed")
    packed = RecordIODataset(tmp_path / "packed")
    assert packed.has_metadata
    assert packed.labels.tolist() == [0, 0, 0, 1, 1]
    for row, old in enumerate((0, 2, 4, 1, 3)):
        assert packed.encoded(row) == source.encoded(old)


def test_numbers_are_padded_so_that_names_sort_like_numbers(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", [1] * 11, side=8)
    run("pack", "--source", root, "--output", tmp_path / "a")
    run("unpack", "--source", tmp_path / "a", "--output", tmp_path / "folder")
    assert next(iter(contents(tmp_path / "folder"))) == "00/01.jpg"
    run("pack", "--source", tmp_path / "folder", "--output", tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_png_files_stay_png_files(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    data = image_file("PNG", "RGB")
    (tmp_path / "photos" / "a" / "x.png").write_bytes(data)
    run("pack", "--source", tmp_path / "photos", "--output", tmp_path / "packed")
    run("unpack", "--source", tmp_path / "packed", "--output", tmp_path / "folder")
    assert contents(tmp_path / "folder") == {"0/1.png": data}


def test_a_size_brings_the_shorter_side_to_it_and_keeps_the_middle(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    wide = np.zeros((24, 48, 3), np.uint8)
    wide[:, 12:36] = (200, 100, 50)  # the middle square
    Image.fromarray(wide).save(tmp_path / "photos" / "a" / "x.png")
    run("pack", "--source", tmp_path / "photos", "--output", tmp_path / "p", "--size", 12)
    image, _ = RecordIODataset(tmp_path / "p")[0]
    assert image.shape == (3, 12, 12)
    middle = image[:, :, 2:-2].float().mean(dim=(1, 2))
    torch.testing.assert_close(middle, torch.tensor([200.0, 100.0, 50.0]), atol=3, rtol=0)
    assert (tmp_path / "p" / "property").read_text() == "1,12,12\n"


def test_nothing_is_overwritten_unasked_or_left_half_written(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", [2, 2], side=8)
    output = tmp_path / "packed"
    run("pack", "--source", root, "--output", output)
    (output / "lfw.bin").write_bytes(b"a neighbour")
    before = contents(output)
    told = complaint("pack", "--source", RECORDS / "faces", "--output", output)
    assert "train.rec is there already; choose another name, or add --force true" in told
    (root / "id01" / "001.jpg").write_bytes(b"no jpeg")
    told = complaint("pack", "--source", root, "--output", output, "--force", "true")
    assert f"Cannot pack {root / 'id01' / '001.jpg'} (7 bytes are none" in told
    assert contents(output) == before
    assert "Cannot pack" in complaint("pack", "--source", root, "--output", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    run("pack", "--source", RECORDS / "faces", "--output", output, "--force", "true")
    assert (output / "lfw.bin").read_bytes() == b"a neighbour"
    assert RecordIODataset(output).num_classes == 3
    assert sorted(path.name for path in output.iterdir()) == [
        "lfw.bin",
        "property",
        "train.idx",
        "train.rec",
    ]


def test_unpacking_leaves_nothing_half_written(tmp_path: Path) -> None:
    root = copied(tmp_path / "set")
    data = bytearray((root / "train.rec").read_bytes())
    data[data.rindex(b"\xff\xd8\xff\xe0")] = 0  # the last image
    (root / "train.rec").write_bytes(data)
    told = complaint("unpack", "--source", root, "--output", tmp_path / "folder")
    assert f"Record 9 of {root / 'train.rec'} holds no image file" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    (tmp_path / "folder").mkdir()
    run("unpack", "--source", RECORDS / "faces", "--output", tmp_path / "folder")
    told = complaint("unpack", "--source", RECORDS / "faces", "--output", tmp_path / "folder")
    assert "folder is there already" in told


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", [1], side=8)
    (root / "id00" / "zz.png").write_bytes(image_file("PNG", "RGB", side=20))
    told = complaint("pack", "--source", root, "--output", tmp_path / "packed")
    assert "zz.png with 20 x 20 pixels where others have 8 x 8; give a size" in told
    run("pack", "--source", root, "--output", tmp_path / "packed", "--size", 8)
    assert len(RecordIODataset(tmp_path / "packed")) == 2


class Generated:
    """Images that exist only while they are asked for; labels come in no order."""

    def __init__(self, labels: list[int]) -> None:
        self.truth = labels

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return portraits(self.truth[index], 3, side=24)[index % 3], self.truth[index]


def test_a_generated_dataset_is_packed(tmp_path: Path) -> None:
    dataset, seen = Generated([5, 2, 5, 9, 2]), []
    pack_dataset(dataset, tmp_path, progress=lambda: seen.append(1))
    packed = RecordIODataset(tmp_path)
    assert len(seen) == 5
    assert packed.labels.tolist() == [0, 0, 1, 1, 2]
    for row, old in enumerate((1, 4, 0, 2, 3)):
        expected = dataset[old][0].float()
        assert (packed[row][0].float() - expected).abs().mean() < 12  # JPEG of noisy images
        assert packed.encoded(row) == encode_jpeg(dataset[old][0], quality=95)


class Fickle(Generated):
    """Says another label every time."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.truth[index] += 1
        return super().__getitem__(index)


def test_datasets_that_cannot_be_packed(tmp_path: Path) -> None:
    grey = [(torch.zeros(1, 8, 8, dtype=torch.uint8), 0)]
    floats = [(torch.zeros(3, 8, 8), 0)]
    negative = [(torch.zeros(3, 8, 8, dtype=torch.uint8), -1)]
    for dataset, expected in (
        ([], "There is no image"),
        (grey, r"Image 0 is torch.uint8 of shape \[1, 8, 8\]"),
        (floats, "Image 0 is torch.float32"),
        (negative, "Image 0 has the label -1"),
        (Fickle([1, 2]), "Image 0 has the label 3 and had 2 before"),
    ):
        with pytest.raises(ValueError, match=expected):
            pack_dataset(dataset, tmp_path / "packed")
        assert not list(tmp_path.rglob("*.rec"))


def read_bin(path: Path) -> tuple[list[bytes], list[bool]]:
    """Read a benchmark as insightface does."""
    bins, is_same = pickle.loads(path.read_bytes(), encoding="bytes")
    return bins, is_same


def test_pairs_are_drawn_in_ten_balanced_folds(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", [4] * 6, side=8)
    owners = {path.read_bytes(): path.parent.name for path in root.rglob("*.jpg")}
    words = ["pack", "--source", root, "--pairs", 60, "--output"]
    run(*words, tmp_path / "a.bin")
    bins, is_same = read_bin(tmp_path / "a.bin")
    assert is_same == ([True] * 3 + [False] * 3) * 10
    pairs = list(zip(bins[::2], bins[1::2], strict=True))
    assert [owners[first] == owners[second] for first, second in pairs] == is_same
    drawn = {frozenset(pair) for pair in pairs}
    assert len(drawn) == 60
    run(*words, tmp_path / "again.bin")
    assert read_bin(tmp_path / "again.bin") == (bins, is_same)
    run(*words, tmp_path / "other.bin", "--seed", 1)
    assert read_bin(tmp_path / "other.bin")[0] != bins


def test_drawn_pairs_are_as_even_as_they_say() -> None:
    labels = torch.tensor([0] * 40 + [1] * 4 + [2] * 4)
    pairs, is_same = draw_pairs(labels, 20, torch.Generator().manual_seed(0))
    assert pairs.shape == (20, 2)
    assert (labels[pairs[:, 0]] == labels[pairs[:, 1]]).tolist() == is_same.tolist()
    counts: Counter[int] = Counter()
    for seed in range(60):
        pairs, is_same = draw_pairs(labels, 20, torch.Generator().manual_seed(seed))
        counts.update(labels[pairs[is_same, 0]].tolist())
    # Of 600, where the many images of identity 0 would otherwise take 590; the small ones run out
    # of pairs now and then.
    assert 170 < counts[0] < 260


def test_pairs_of_different_identities_stay_within_a_kind() -> None:
    labels = torch.arange(12).repeat_interleave(2)
    kinds = labels % 6  # two identities of each, and so 24 pairs of unlike ones
    pairs, is_same = draw_pairs(labels, 20, torch.Generator().manual_seed(0), kinds=kinds)
    unlike = pairs[~is_same]
    assert len(unlike) == 10
    assert (labels[unlike[:, 0]] != labels[unlike[:, 1]]).all()
    assert (kinds[unlike[:, 0]] == kinds[unlike[:, 1]]).all()
    with pytest.raises(DataError, match="24 of different"):
        draw_pairs(labels, 60, torch.Generator().manual_seed(0), kinds=kinds)


@pytest.mark.parametrize("sizes", [[2] * 10, [4, 3, 2], [2, 4, 3]])
def test_every_pair_there_is_can_be_drawn(sizes: list[int]) -> None:
    # Identities run out of pairs one after the other, the small ones first.
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    there = {(i, j) for i, j in combinations(range(len(labels)), 2) if labels[i] == labels[j]}
    assert len(there) == 10
    for seed in range(5):
        pairs, is_same = draw_pairs(labels, 20, torch.Generator().manual_seed(seed))
        assert {(i, j) for i, j in pairs[is_same].tolist()} == there


def test_a_bin_to_a_folder_and_back_has_the_same_pairs(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", [4] * 6, side=8)
    run("pack", "--source", root, "--output", tmp_path / "a.bin", "--pairs", 60)
    run("unpack", "--source", tmp_path / "a.bin", "--output", tmp_path / "folder")
    files = contents(tmp_path / "folder")
    lines = files.pop("pairs.txt").decode().splitlines()
    bins, is_same = read_bin(tmp_path / "a.bin")
    listed = [line.split() for line in lines]
    assert [files[name] for *names, _ in listed for name in names] == bins
    assert [flag == "1" for *_, flag in listed] == is_same
    assert len(files) == len(set(bins))
    run("pack", "--source", tmp_path / "folder", "--output", tmp_path / "b.bin")
    assert read_bin(tmp_path / "b.bin") == (bins, is_same)


def test_pairs_of_a_list(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", [3, 2], side=8)
    pairs = tmp_path / "list.txt"
    pairs.write_text("id00/000.jpg id00/002.jpg 1\nid00/001.jpg id01/000.jpg 0\n")
    run("pack", "--source", root, "--output", tmp_path / "a.bin", "--pairs", pairs)
    bins, is_same = read_bin(tmp_path / "a.bin")
    names = ("id00/000", "id00/002", "id00/001", "id01/000")
    assert bins == [(root / f"{name}.jpg").read_bytes() for name in names]
    assert is_same == [True, False]
    small = tmp_path / "small"
    run("pack", "--source", root, "--output", small, "--pairs", pairs, "--format", "bin",
        "--size", 4)  # fmt: skip
    bins, again = read_bin(small)
    assert again == is_same
    assert all(decode_rgb(data).shape == (3, 4, 4) for data in bins)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--output", "a.bin"], "photos has no pairs.txt; set pairs to a list, or"),
        (["--output", "a.bin", "--pairs", "30"], "30 pairs do not make 10 folds"),
        (["--output", "a.bin", "--pairs", "0"], "0 pairs do not make 10 folds"),
        (["--output", "a.bin", "--pairs", "20"], "make 4 pairs of the same identity and 6 of"),
        (["--output", "a.bin", "--pairs", "absent.txt"], "names 1 images that are not in photos"),
        (["--output", "a", "--pairs", "20"], "pairs belong into a .bin file"),
        (["--output", "a", "--size", "0"], "size is 0; give a whole number"),
        (["--output", "a", "--quality", "101"], "quality is 101; give a whole number"),
        (["--output", "there.bin"], "there.bin is there already"),
        (["--output", "photos", "--format", "bin", "--force", "true"], "photos is a folder"),
        (["--source", "faces", "--output", "a.bin", "--pairs", "absent.txt"], "holds no files"),
        (["--source", "none", "--output", "a"], "none is not there"),
        (["--source", "own", "--output", "a.bin", "--pairs", "20"], "own has pairs of its own"),
        (["--source", "own", "--output", "a"], "own holds pairs, not identities"),
    ],
)
def test_impossible_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(Path("photos"), [3, 2], side=8)
    copied(Path("faces"))
    photos(Path("own"), [2], side=8)
    Path("own/pairs.txt").write_text("id00/000.jpg id00/001.jpg 1\n")
    Path("there.bin").touch()
    Path("absent.txt").write_text("id00/000.jpg id09/002.jpg 0\n")
    before = contents(tmp_path)
    source = [] if "--source" in words else ["--source", "photos"]
    assert expected in complaint("pack", *source, *words)
    assert contents(tmp_path) == before


def test_only_files_can_be_unpacked(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", [2], side=8)
    told = complaint("unpack", "--source", root, "--output", tmp_path / "a")
    assert "photos holds images already" in told
    (root / "pairs.txt").write_text("id00/000.jpg id00/001.jpg 1\n")
    told = complaint("unpack", "--source", root, "--output", tmp_path / "a")
    assert "photos holds images already" in told
