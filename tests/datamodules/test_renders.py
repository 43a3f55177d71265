"""Endless renders: every epoch, and every set, has images of its own."""

import pytest
import torch
from lightning.pytorch import Trainer

from qdgs_lightning.datamodules import AnnotatedRenders, BiasedRenders, DataModuleError
from qdgs_lightning.errors import QDGSError
from tests.boring import BoringTask


def test_sets_for_training_validation_and_test_are_apart() -> None:
    data = AnnotatedRenders(batch_size=4, batches_per_epoch=3, validation_batches=2)
    sets = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    assert [len(loader) for loader in sets] == [3, 2, 2]
    images = torch.cat([batch.images.flatten(1) for loader in sets for batch in loader])
    assert len({image.numpy().tobytes() for image in images}) == len(images) == 28
    again = torch.cat([batch.images.flatten(1) for batch in data.test_dataloader()])
    assert torch.equal(images[-8:], again)


@pytest.mark.parametrize("kind", [AnnotatedRenders, BiasedRenders])
def test_another_seed_draws_other_images(kind: type[AnnotatedRenders | BiasedRenders]) -> None:
    drawn = []
    for seed in (0, 1, 7, 2**30 - 1):
        data = kind(batch_size=2, batches_per_epoch=1, validation_batches=1, seed=seed)
        for loader in (data.train_dataloader(), data.val_dataloader(), data.unseen()):
            (batch,) = loader
            images = batch if isinstance(batch, torch.Tensor) else batch.images
            drawn += [image.numpy().tobytes() for image in images]
    assert len(set(drawn)) == len(drawn) == 24


def test_a_trainer_that_keeps_its_loaders_is_refused() -> None:
    trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False, max_epochs=1)
    with pytest.raises(DataModuleError, match="reload_dataloaders_every_n_epochs: 1"):
        trainer.fit(BoringTask(), BiasedRenders())


@pytest.mark.parametrize(
    "setting",
    [{"bias": 9.0}, {"batch_size": 0}, {"batches_per_epoch": 0}, {"seed": -1}],
    ids=str,
)
def test_numbers_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(QDGSError, match=str(*setting.values())):
        BiasedRenders(**setting)  # type: ignore[arg-type]
    with pytest.raises(DataModuleError, match="junk is -1"):
        AnnotatedRenders(junk=-1)
