"""What is left of a checkpoint when the next one does not fit on the disk, or is killed."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from qdgs_lightning.utils.checkpoint_io import (
    CheckpointSaveError,
    WholeCheckpointIO,
    keep_checkpoints_whole,
)
from tests.boring import BoringData, BoringTask
from tests.ranks import end_ranks, start_ranks


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as on a disk that is nearly full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 300, 20_000, 100_000])
def test_full_disk_leaves_the_former_checkpoint(size: int, tmp_path: Path) -> None:
    path, io = tmp_path / "deep" / "last.ckpt", WholeCheckpointIO()
    io.save_checkpoint({"a": torch.ones(3)}, path)
    before = path.read_bytes()
    large = {"a": torch.zeros(50_000), "b": {"c": torch.zeros(50_000)}}
    with room_for(size), pytest.raises(CheckpointSaveError) as complaint:
        io.save_checkpoint(large, path)
    assert str(complaint.value) == (
        f"The checkpoint cannot be saved to {path} (File too large); free space or choose another "
        "place; what was there before is unchanged."
    )
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    io.save_checkpoint(large, str(path))
    assert io.load_checkpoint(path, weights_only=True)["b"]["c"].shape == (50_000,)


def test_what_cannot_be_pickled_is_no_matter_of_space(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle") as caught:
        WholeCheckpointIO().save_checkpoint({"a": lambda: 0}, tmp_path / "a.ckpt")
    assert not isinstance(caught.value, CheckpointSaveError)
    assert not list(tmp_path.iterdir())


def _save_forever(rank: int, folder: Path) -> None:
    """Save numbers that go up, one after the other."""
    for number in count():
        rows = torch.full((300_000,), float(number))
        WholeCheckpointIO().save_checkpoint({"a": rows, "b": rows + 1}, folder / "last.ckpt")


def test_a_kill_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    (process,) = start_ranks(_save_forever, tmp_path, world=1)
    while not (tmp_path / "last.ckpt").exists() and process.is_alive():
        time.sleep(0.005)
    time.sleep(0.05)
    process.kill()
    end_ranks([process])
    rows = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(rows["a"] + 1, rows["b"])


def test_a_fit_uses_it_and_resumes(tmp_path: Path) -> None:
    def trainer(max_epochs: int) -> Trainer:
        return Trainer(
            accelerator="cpu",
            max_epochs=max_epochs,
            logger=False,
            default_root_dir=tmp_path,
            callbacks=[ModelCheckpoint(tmp_path, save_last=True)],
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    first = trainer(1)
    keep_checkpoints_whole(first)
    first.fit(BoringTask(), BoringData())
    second = trainer(3)
    keep_checkpoints_whole(second)
    with room_for(500), pytest.raises(CheckpointSaveError, match=r"checkpoint .* to .*epoch=1"):
        second.fit(BoringTask(), BoringData(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    third = trainer(2)
    keep_checkpoints_whole(third)
    third.fit(BoringTask(), BoringData(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert third.global_step == 4
    assert {path.name for path in tmp_path.iterdir()} == {"epoch=1-step=4.ckpt", "last.ckpt"}


def test_another_way_of_writing_that_was_asked_for_stays() -> None:
    class Own(TorchCheckpointIO):
        pass

    trainer = Trainer(accelerator="cpu", logger=False, plugins=[Own()])
    keep_checkpoints_whole(trainer)
    assert type(trainer.strategy.checkpoint_io) is Own
