"""The files of the avatars domain, read back as a recogniser reads them."""

import os
from pathlib import Path

import pytest
import torch

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets import RecordIODataset, load_benchmarks
from qdgs_lightning.domains.avatars.dataset import Population
from qdgs_lightning.domains.avatars.make_dataset import GROUPS, benchmark_people
from qdgs_lightning.domains.avatars.people import AvatarPeople

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


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--identities", "0"], "identities is 0"),
        (["--images_per_identity", "0"], "images_per_identity is 0"),
        (["--benchmark_identities", "-1"], "benchmark_identities is -1"),
        (["--image_size", "-3"], "image_size is -3"),
        (["--pairs", "30"], "30 pairs do not make 10 folds"),
        (["--benchmark_identities", "3", "--image_size", "32"], "too few for 20 of each"),
    ],
)
def test_numbers_out_of_range_cost_a_sentence_and_no_file(
    tmp_path: Path, words: list[str], complaint: str
) -> None:
    undrawable = ["--image_size", "10000000"]  # so that what is drawn before ends otherwise
    with pytest.raises(SystemExit, match=complaint):
        main(["avatars-data", "--output", str(tmp_path), *SMALL, *FEW, *undrawable, *words])
    assert not os.listdir(tmp_path)


def test_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "train.idx").mkdir()  # which stops the training set, after the benchmarks
    words = ["avatars-data", "--output", str(tmp_path), *SMALL, *FEW]
    with pytest.raises(SystemExit, match=r"Is a directory '.*train\.idx'"):
        main(words)
    assert sorted(os.listdir(tmp_path)) == ["mine.txt", "train.idx"]
    (tmp_path / "train.idx").rmdir()
    main(words)
    made = {"train.rec", "train.idx", "property", *(f"{name}.bin" for name in GROUPS)}
    assert set(os.listdir(tmp_path)) == {"mine.txt"} | made


def test_nobody_stands_in_two_sets() -> None:
    """Training sets of several seeds and all benchmarks, as large as they are by default."""
    trained = [
        AvatarPeople(Population(), identities=100, images_per_identity=1, seed=seed, image_size=8)
        for seed in (*range(8), 2**30 - 1)
    ]
    tested = [benchmark_people(name, 600, image_size=8) for name in GROUPS]
    people = [tuple(row.tolist()) for each in (*trained, *tested) for row in each.people]
    assert len(set(people)) == len(people) == 9 * 100 + 4 * 600
