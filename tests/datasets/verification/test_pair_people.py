"""People by the names of files, only where every pair agrees."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from qdgs_lightning.datasets.verification.pair_people import find_people


def people(*names: str, pairs: list[list[int]], same: list[bool]) -> Tensor | None:
    return find_people([Path(name) for name in names], torch.tensor(pairs), torch.tensor(same))


@pytest.mark.parametrize(
    "names",
    [
        ("lfw/Ann/Ann_0001.jpg", "lfw/Ann/Ann_0002.jpg", "lfw/Bob/Bob_0001.jpg"),
        ("D/001/frontal/01.jpg", "D/001/profile/01.jpg", "D/002/frontal/01.jpg"),
        ("calfw/Ann_Lee_0001.jpg", "calfw/Ann_Lee_0012.jpg", "calfw/Bob_0001.jpg"),
    ],
)
def test_layouts_of_the_field(names: tuple[str, ...]) -> None:
    found = people(*names, pairs=[[0, 1], [0, 2]], same=[True, False])
    assert found is not None
    assert found.tolist() == [0, 0, 1]


def test_one_pair_that_disagrees_and_nothing_is_known() -> None:
    names = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    assert people(*names, pairs=[[0, 1], [0, 2], [2, 3]], same=[True, False, True]) is not None
    assert people(*names, pairs=[[0, 1], [0, 2], [2, 3]], same=[True, False, False]) is None
    assert people(*names, pairs=[[0, 1], [2, 3]], same=[True, True]) is None
    assert people("x.jpg", "y.jpg", "z.jpg", pairs=[[0, 1], [0, 2]], same=[True, False]) is None
