"""Images of a set as a dataset: each once, in worker processes, of one size."""

import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from qdgs_lightning.datasets import (
    VerificationDataError,
    VerificationPairs,
    load_verification_pairs,
    write_verification_bin,
)
from qdgs_lightning.datasets.verification.pairs import ImageFiles
from tests.datasets.pictures import BY_OTHERS, encoded, write_image


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_the_same(context: str) -> None:
    pairs = load_verification_pairs(BY_OTHERS / "python2.bin")
    expected = torch.stack([pairs[index][0] for index in range(4)])  # open before workers start
    loader = DataLoader(pairs, batch_size=3, num_workers=1, multiprocessing_context=context)
    images, places = zip(*loader, strict=True)
    assert torch.cat(places).tolist() == [0, 1, 2, 3]
    assert torch.equal(torch.cat(images), expected)


def test_images_stay_in_the_file(tmp_path: Path) -> None:
    files = [encoded((index, 0, 0)) for index in range(40)]
    write_verification_bin(tmp_path / "set.bin", files, [True] * 20)
    pairs = load_verification_pairs(tmp_path / "set.bin")
    pairs[0]
    assert len(pickle.dumps(pairs)) < sum(map(len, files)) / 4


def test_other_sizes_become_one(tmp_path: Path) -> None:
    files = [encoded((9, 99, 199), size=size) for size in ((112, 112), (150, 112), (30, 60))]
    write_verification_bin(tmp_path / "set.bin", [*files, files[0]], [True, False])
    for size in (112, 32):
        pairs = load_verification_pairs(tmp_path / "set.bin", image_size=size)
        assert len(pairs) == 3
        for image, _ in (pairs[index] for index in range(3)):
            assert image.shape == (3, size, size)
            means = image.float().mean(dim=(1, 2))
            torch.testing.assert_close(means, torch.tensor([9.0, 99.0, 199.0]), atol=3, rtol=0)


def test_indices_count_from_either_end() -> None:
    pairs = load_verification_pairs(BY_OTHERS / "python3.bin")
    image, index = pairs[-1]
    assert index == 3
    assert torch.equal(image, pairs[3][0])
    for outside in (4, -5):
        with pytest.raises(IndexError):
            pairs[outside]


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", (1, 2, 3))
    source = ImageFiles([tmp_path / "a.jpg"])
    one = torch.zeros(1, 2, dtype=torch.int64)
    pairs = VerificationPairs("own", source, pairs=one, is_same=torch.tensor([True]))
    assert pairs[0][0].shape == (3, 112, 112)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(VerificationDataError, match=r"Image 0 of own, .*a\.jpg, is bad"):
        pairs[0]


def test_sets_that_are_none() -> None:
    source = ImageFiles([Path("a.jpg")])
    one = torch.zeros(1, 2, dtype=torch.int64)
    for pairs, labels in ((one[:0], []), (one, [True, True]), (one[:, :1], [True])):
        with pytest.raises(VerificationDataError, match=r"give \[n, 2\] and n, at least 1"):
            VerificationPairs("own", source, pairs=pairs, is_same=torch.tensor(labels))
    with pytest.raises(VerificationDataError, match="image_size is 0"):
        VerificationPairs("own", source, pairs=one, is_same=torch.tensor([True]), image_size=0)
