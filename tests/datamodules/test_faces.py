"""The datamodule of faces: what reaches a model, from which files, in which order."""

import warnings
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from qdgs_lightning.datamodules import DataModuleError, FaceAugmentation, FaceDataModule
from qdgs_lightning.datasets import RecordIODataset, write_verification_bin
from tests.faces import jpegs, portraits, write_benchmark, write_training_set

PLAIN = FaceAugmentation(flip=0, crop=0, low_resolution=0, photometric=0)


class Recorder(LightningModule):
    """Keeps the batches that it gets."""

    automatic_optimization = False

    def __init__(self) -> None:
        super().__init__()
        self.train_batches: list[tuple[int, Tensor, Tensor]] = []
        self.test_batches: list[tuple[int, Tensor, Tensor]] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Keep it."""
        self.train_batches.append((self.current_epoch, *batch))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ANN401
        """Take no notice."""

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ANN401
        """Keep it."""
        self.test_batches.append((dataloader_idx, *batch))

    def configure_optimizers(self) -> None:
        """Train nothing."""


def trainer(folder: Path, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


def batches(root: Path, folder: Path, **options: Any) -> list[tuple[int, Tensor, Tensor]]:
    recorder = Recorder()
    data = FaceDataModule(train=root, **{"batch_size": 5, "num_workers": 0, **options})
    trainer(folder, max_epochs=2).fit(recorder, datamodule=data)
    assert data.num_classes == 4
    return recorder.train_batches


def test_an_epoch_has_every_image_once_in_another_order_each_time(tmp_path: Path) -> None:
    root = write_training_set(tmp_path / "set")
    dataset = RecordIODataset(root)
    truth = {
        bytes(image.numpy().tobytes()): label for image, label in (dataset[i] for i in range(32))
    }
    found = batches(root, tmp_path, augmentation=PLAIN)
    assert len(found) == 2 * 6  # two of thirty-two images are left out
    orders = []
    for epoch in (0, 1):
        images = torch.cat([x for e, x, _ in found if e == epoch])
        labels = torch.cat([y for e, _, y in found if e == epoch])
        assert images.dtype == torch.float32
        keys = [(255 * image).round().byte().numpy().tobytes() for image in images]
        assert len(set(keys)) == 30
        assert [truth[key] for key in keys] == labels.tolist()
        orders.append(keys)
    assert orders[0] != orders[1]


def test_alterations_follow_from_seed_and_batch(tmp_path: Path) -> None:
    root = write_training_set(tmp_path / "set")
    first, again, other = (batches(root, tmp_path, seed=seed) for seed in (3, 3, 4))
    for (_, a, _), (_, b, _) in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not any(torch.equal(a, b) for (_, a, _), (_, b, _) in zip(first, other, strict=True))


def test_alterations_differ_between_ranks_epochs_and_batches() -> None:
    images = torch.randint(256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    classes = torch.arange(8)
    shown = set()
    for seed, rank, epoch, batch in product((0, 1), repeat=4):
        data = FaceDataModule(seed=seed)
        loop = SimpleNamespace(batch_idx=batch)
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            training=True, global_rank=rank, current_epoch=epoch, fit_loop=loop
        )
        altered, kept = cast(
            tuple[Tensor, Tensor], data.on_after_batch_transfer((images.byte(), classes), 0)
        )
        assert torch.equal(kept, classes)
        shown.add(altered.numpy().tobytes())
    assert len(shown) == 2**4


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    root = write_training_set(tmp_path / "set")
    alone, helped = (batches(root, tmp_path, num_workers=n) for n in (0, 2))
    for (_, a, _), (_, b, _) in zip(alone, helped, strict=True):
        assert torch.equal(a, b)


def test_benchmarks_that_are_there_are_loaded_in_the_order_asked_for(tmp_path: Path) -> None:
    write_benchmark(tmp_path / "lfw.bin", range(10, 14))
    write_benchmark(tmp_path / "rfw_asian.bin", range(20, 24))
    write_benchmark(tmp_path / "rfw_indian.bin", range(30, 34))
    data = FaceDataModule(
        benchmarks=tmp_path,
        test_on=["rfw", "cfp_fp", "lfw"],
        num_workers=0,
        eval_batch_size=7,
        image_size=32,
    )
    recorder = Recorder()
    with pytest.warns(UserWarning, match=r"cfp_fp"):
        trainer(tmp_path).test(recorder, datamodule=data, verbose=False)
    assert list(data.benchmarks) == ["rfw_asian", "rfw_indian", "lfw"]
    assert data.groups == {"rfw": ["rfw_asian", "rfw_indian"]}
    for index, pairs in enumerate(data.benchmarks.values()):
        images = torch.cat([x for i, x, _ in recorder.test_batches if i == index])
        places = torch.cat([y for i, _, y in recorder.test_batches if i == index])
        assert places.tolist() == list(range(len(pairs)))
        truth = torch.stack([pairs[i][0] for i in range(len(pairs))])
        assert torch.equal((255 * images).round().byte(), truth)  # and nothing is altered


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"batch_size": 33}, "has 32 images, too few for a batch of 33"),
    ],
)
def test_settings_that_leave_nothing_are_refused(
    tmp_path: Path, options: dict[str, Any], complaint: str
) -> None:
    root = write_training_set(tmp_path / "set")
    with pytest.raises(DataModuleError, match=complaint):
        batches(root, tmp_path, **options)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataModuleError, match="nothing to train on"):
        trainer(tmp_path, max_epochs=1).fit(Recorder(), datamodule=FaceDataModule())
    with pytest.raises(DataModuleError, match=r"None of lfw is in .*: set"):
        trainer(tmp_path).test(
            Recorder(), datamodule=FaceDataModule(benchmarks=tmp_path, test_on=["lfw"])
        )


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ([True, False] * 2, "4 pairs are too few for 10 folds"),
        ([True] * 20, "all 20 pairs are of one person"),
    ],
)
def test_benchmarks_without_an_accuracy_are_refused_before_training(
    tmp_path: Path, labels: list[bool], complaint: str
) -> None:
    root = write_training_set(tmp_path / "set")
    images = jpegs(portraits(10, 2 * len(labels), side=32))
    write_verification_bin(tmp_path / "mine.bin", images, labels)
    recorder = Recorder()
    data = FaceDataModule(
        train=root, benchmarks=tmp_path, validate_on=["mine"], test_on=["mine"], num_workers=0
    )
    for run in (trainer(tmp_path, max_epochs=1).fit, trainer(tmp_path).test):
        with pytest.raises(DataModuleError, match=f"benchmark mine in .* accuracy .{complaint}"):
            run(recorder, datamodule=data)
    assert not recorder.train_batches


def test_benchmarks_of_unmixed_folds_are_warned_of(tmp_path: Path) -> None:
    labels = [k // 20 % 2 == 0 for k in range(200)]
    write_verification_bin(tmp_path / "mine.bin", jpegs(portraits(10, 2, side=32)) * 200, labels)
    data = FaceDataModule(benchmarks=tmp_path, test_on=["mine"], num_workers=0, image_size=32)
    with pytest.warns(UserWarning, match="10 of the 10 folds of mine hold pairs of one kind only"):
        data.setup("test")


SKIN = {"skin": ["avatars_dark", "avatars_light"], "age": ["avatars_young", "avatars_old"]}


@pytest.mark.parametrize(
    ("merge", "message"),
    [
        ({"dark": ["avatars_drak"], "light": ["avatars_light"]}, r"did you mean 'avatars_dark'\?"),
        ({"dark": ["avatars_dark", "rfw_indian"], "light": ["avatars_light"]}, "'rfw_indian'"),
        ({"dark": [], "light": ["avatars_light"]}, r"'dark' is of \[\]"),
        ({"dark": 2 * ["avatars_dark"], "light": ["avatars_light"]}, "each once"),
        ({"dark": ["avatars_dark"]}, "'dark' has nothing to be compared with"),
        ({"dark": ["avatars_dark"], "old": ["avatars_old"]}, "nothing to be compared with"),
        ({"all": ["avatars_dark", "avatars_old"], "old": ["avatars_old"]}, "'all' has nothing"),
    ],
)
def test_merged_groups_that_no_benchmark_could_make_are_refused(
    merge: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(DataModuleError, match=message):
        FaceDataModule(groups=SKIN, merge=merge)


def test_merged_groups_that_lack_a_benchmark_are_named(tmp_path: Path) -> None:
    merge = {"dark": ["rfw_african", "rfw_own"], "light": ["rfw_asian"]}
    data = FaceDataModule(
        benchmarks=tmp_path, validate_on=["rfw_asian"], test_on=["rfw", "rfw_own"], merge=merge
    )
    write_benchmark(tmp_path / "rfw_asian.bin", range(3))
    write_benchmark(tmp_path / "rfw_own.bin", range(3))
    with pytest.warns(UserWarning, match=r"left out.*: 'dark' lacks rfw_african\.$"):
        data.setup("test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.setup("validate")  # which did not ask for them
        write_benchmark(tmp_path / "rfw_african.bin", range(3))
        data.test_on = ("rfw_african", "rfw_own", "rfw_asian")
        data.setup("test")
