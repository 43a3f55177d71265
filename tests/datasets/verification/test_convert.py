"""How a benchmark is described, and the image files that it has or is given."""

from pathlib import Path

import torch

from qdgs_lightning.datasets import load_rfw
from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.datasets.verification.convert import describe_pairs, image_file
from tests.datasets.verification.test_rfw import tree


def test_folds_of_several_sizes_are_not_called_equal() -> None:
    # Five folds of three pairs and five of two, with one pair of one person each.
    is_same = torch.tensor([True, False, False] * 5 + [True, False] * 5)
    (_, pairs), (_, folds) = describe_pairs(is_same)
    assert pairs == "25, 10 of one person and 15 of two"
    assert folds == "each of 10 has 1 to 1 pairs of one person"
    (_, _), (_, folds) = describe_pairs(torch.tensor([True, False, False] * 10))
    assert folds == "each of 10 has 1 pairs of one person and 2 of two"


def test_faces_that_are_aligned_when_read_get_a_file_of_what_is_compared(tmp_path: Path) -> None:
    pairs = load_rfw(tree(tmp_path), races=["Asian"])["rfw_asian"]
    for row in range(len(pairs)):
        kept = decode_rgb(image_file(pairs, row)).float()
        assert (kept - pairs[row][0]).abs().mean() < 3  # of 255, by JPEG
