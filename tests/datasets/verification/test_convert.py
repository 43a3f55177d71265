"""How the folds of a benchmark are said to be balanced."""

import torch

from qdgs_lightning.datasets.verification.convert import describe_pairs


def test_folds_of_several_sizes_are_not_called_equal() -> None:
    # Five folds of three pairs and five of two, with one pair of one person each.
    is_same = torch.tensor([True, False, False] * 5 + [True, False] * 5)
    (_, pairs), (_, folds) = describe_pairs(is_same)
    assert pairs == "25, 10 of one person and 15 of two"
    assert folds == "each of 10 has 1 to 1 pairs of one person"
    (_, _), (_, folds) = describe_pairs(torch.tensor([True, False, False] * 10))
    assert folds == "each of 10 has 1 pairs of one person and 2 of two"
