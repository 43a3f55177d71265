"""The files of the avatars domain, read back as a recogniser reads them."""

from pathlib import Path

import pytest
import torch

from qdgs_lightning.cli import main
from qdgs_lightning.commands.avatars_data import GROUPS
from qdgs_lightning.datasets import RecordIODataset, load_benchmarks

SMALL = ("--identities", "12", "--images_per_identity", "3", "--pairs", "40", "--image_size", "64")
FEW = ("--benchmark_identities", "40")


def test_training_set_and_benchmarks(tmp_path: Path) -> None:
    main(["avatars-data", "--output", str(tmp_path), *SMALL, *FEW])
    dataset = RecordIODataset(tmp_path)
    assert (len(dataset), dataset.num_classes) == (36, 12)
    image, label = dataset[35]
    assert image.shape == (3, 64, 64)
    assert label == 11
    sets = load_benchmarks(tmp_path, list(GROUPS), image_size=64)
    assert list(sets) == list(GROUPS)
    for pairs in sets.values():
        assert len(pairs.is_same) == 40
        assert torch.as_tensor(pairs.is_same).float().mean() == 0.5
    dark, light = (
        torch.stack([sets[name][i][0] for i in range(20)])[:, :, 34:38, 20:44].float().mean()
        for name in ("avatars_dark", "avatars_light")
    )
    assert dark < 0.6 * light


def test_files_that_are_there_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.rec").write_bytes(b"mine")
    with pytest.raises(SystemExit, match=r"has train\.rec already"):
        main(["avatars-data", "--output", str(tmp_path), *SMALL, *FEW])
    assert (tmp_path / "train.rec").read_bytes() == b"mine"
