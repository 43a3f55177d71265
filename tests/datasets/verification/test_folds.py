"""Folds of a set: one accuracy for one set, however it is kept; published orders are untouched."""

from pathlib import Path

import pytest
import torch

from qdgs_lightning.datasets import load_verification_pairs, write_verification_bin
from qdgs_lightning.datasets.verification.folds import dealt_out, unmixed_folds, why_no_accuracy
from qdgs_lightning.metrics import verification_accuracy
from tests.datasets.pictures import encoded

PUBLISHED = [kind for _ in range(10) for kind in [True] * 300 + [False] * 300]


def test_published_orders_are_kept() -> None:
    assert dealt_out(PUBLISHED) == list(range(6000))
    assert unmixed_folds(torch.tensor(PUBLISHED)) == 0


@pytest.mark.parametrize("first", [True, False])
def test_kinds_that_stand_apart_are_in_every_fold_in_their_order(first: bool) -> None:
    same = torch.tensor([first] * 130 + [not first] * 70)
    order = dealt_out(same)
    assert sorted(order) == list(range(200))
    assert [row for row in order if row < 130] == list(range(130))
    assert [row for row in order if row >= 130] == list(range(130, 200))
    for fold in same[order].tensor_split(10):
        assert (fold == first).sum() == 13


def test_a_file_and_a_list_of_the_same_pairs_have_one_accuracy(tmp_path: Path) -> None:
    labels = [k < 100 for k in range(200)]
    images = [encoded((k % 250, k // 250, 7), size=(8, 8), kind="PNG") for k in range(400)]
    write_verification_bin(tmp_path / "mine.bin", images, labels)
    folder = tmp_path / "folder"
    folder.mkdir()
    for k, image in enumerate(images):
        (folder / f"{k}.png").write_bytes(image)
    lines = [f"{2 * k}.png {2 * k + 1}.png {int(same)}\n" for k, same in enumerate(labels)]
    (folder / "pairs.txt").write_text("".join(lines))
    generator = torch.Generator().manual_seed(0)
    noise = 0.3 * torch.randn(200, generator=generator)
    of_pair = torch.where(torch.tensor(labels), 1.2, 1.4) + noise
    found = []
    for path in (tmp_path / "mine.bin", folder):
        pairs = load_verification_pairs(path, image_size=8)
        order = [images.index(pairs.encoded(a) or b"") // 2 for a, _ in pairs.pairs.tolist()]
        assert pairs.is_same.tolist() == [labels[k] for k in order]
        found.append(verification_accuracy(of_pair[order], pairs.is_same))
    assert found[0] == found[1]
    undealt = verification_accuracy(of_pair, torch.tensor(labels))
    assert found[0].accuracy > undealt.accuracy + 0.05


@pytest.mark.parametrize(
    ("same", "reason"),
    [
        ([True, False, True], "3 pairs are too few for 10 folds"),
        ([True] * 20, "all 20 pairs are of one person"),
        ([False] * 20, "all 20 pairs are of two people"),
        ([True, False] * 5, ""),
    ],
)
def test_sets_without_an_accuracy(same: list[bool], reason: str) -> None:
    assert why_no_accuracy(torch.tensor(same)) == reason


def test_folds_of_one_kind_are_counted_where_chance_does_not_make_them() -> None:
    kinds = [False] * 20 + [True] * 10 + [True, False] * 30 + [False] * 10
    assert unmixed_folds(torch.tensor(kinds)) == 4
    assert unmixed_folds(torch.tensor(kinds[::2])) == 0


def test_kinds_that_do_not_divide_by_ten_are_dealt_out_as_evenly_as_can_be() -> None:
    same = torch.tensor([True] * 23 + [False] * 17)
    folds = same[dealt_out(same)].tensor_split(10)
    assert [len(fold) for fold in folds] == [4] * 10
    assert dealt_out([True] * 12) == list(range(12))
    assert dealt_out([]) == []
    ordered = dealt_out([True, False, True])
    assert ordered == [0, 1, 2]
