"""Endless renders: every epoch, and every set, has images of its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from qdgs_lightning.datamodules import DataModuleError
from qdgs_lightning.datamodules.renders import Renders
from qdgs_lightning.domains.avatars.datamodule import AnnotatedAvatarRenders, AvatarRenders
from qdgs_lightning.domains.avatars.dataset import (
    ATTRIBUTES,
    NORMALS,
    Population,
    draw_latent_images,
)
from qdgs_lightning.domains.shapes import AnnotatedRenders, BiasedRenders
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.seeding import seeded_generator
from tests.boring import BoringTask


def test_sets_for_training_validation_and_test_are_apart() -> None:
    data = AnnotatedRenders(batch_size=4, batches_per_epoch=3, validation_batches=2)
    sets = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    assert [len(loader) for loader in sets] == [3, 2, 2]
    images = torch.cat([batch.images.flatten(1) for loader in sets for batch in loader])
    assert len({image.numpy().tobytes() for image in images}) == len(images) == 28
    again = torch.cat([batch.images.flatten(1) for batch in data.test_dataloader()])
    assert torch.equal(images[-8:], again)


def test_epochs_share_no_image_with_each_other_nor_with_other_sets() -> None:
    data = BiasedRenders(batch_size=2, batches_per_epoch=3, validation_batches=2, image_size=32)
    drawn = [image.numpy().tobytes() for images in data.val_dataloader() for image in images]
    drawn += [image.numpy().tobytes() for images in data.unseen() for image in images]
    trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False, max_epochs=3)
    data.trainer = trainer
    for epoch in range(3):
        trainer.fit_loop.epoch_progress.current.completed = epoch
        assert trainer.current_epoch == epoch
        loader = data.train_dataloader()
        assert len(loader) == 3
        drawn += [image.numpy().tobytes() for images in loader for image in images]
    assert len(set(drawn)) == len(drawn) == 2 * (2 + 2 + 3 * 3)


def test_triangles_are_red_and_squares_are_blue_as_often_as_asked() -> None:
    for bias in (0.0, 1.0):
        data = BiasedRenders(bias=bias, batch_size=64, image_size=64)
        images = data.draw(torch.Generator().manual_seed(0))
        inked = images.amin(dim=1) < 0.5
        rows, columns = inked.any(2).sum(1), inked.any(1).sum(1)
        # A triangle covers about half of its box and a square, at any turn, half to all of it;
        # what covers most is a square for certain.
        share = inked.sum((1, 2)) / (rows * columns)
        is_blue = (images[:, 2] > images[:, 0]).flatten(1).sum(1) > 0
        assert is_blue[share > 0.8].float().mean() == bias
        assert 0.2 < is_blue.float().mean() < 0.8


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


@pytest.mark.parametrize(
    "kind", [AnnotatedRenders, BiasedRenders, AvatarRenders, AnnotatedAvatarRenders]
)
def test_a_batch_follows_from_seed_and_number_alone(kind: Callable[..., Renders[Any]]) -> None:
    drawn = []
    for state in (0, 1):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        batch = kind(batch_size=24, image_size=32, seed=3).draw(seeded_generator(3, 5))
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append([batch] if isinstance(batch, torch.Tensor) else list(batch))
    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one, other)


def test_avatars_come_in_batches_with_as_many_latents_as_asked() -> None:
    population = Population(skin=(0.05, 0.05, 0.9))
    data = AvatarRenders(
        population=population,
        batch_size=3,
        latents=40,
        batches_per_epoch=2,
        validation_batches=1,
        seed=5,
        image_size=32,
    )
    assert len(data.train_dataloader()) == 2
    (batch,) = data.val_dataloader()
    assert (batch.images.shape, batch.z.shape, batch.w.shape) == (
        (3, 3, 32, 32),
        (40, NORMALS),
        (40, NORMALS),
    )
    drawn = draw_latent_images(population, 3, seeded_generator(5, 0), latents=40, image_size=32)
    for found, expected in zip(batch, drawn, strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(DataModuleError, match="latents is 2; give at least as many as images, 3"):
        AvatarRenders(batch_size=3, latents=2)
    fewest = AvatarRenders(batch_size=3, latents=3).draw(seeded_generator(0))
    assert len(fewest.z) == 3
    # By default as large as what the shipped generator draws, and the reader reads.
    annotated = AnnotatedAvatarRenders(batch_size=2).draw(seeded_generator(0))
    assert {fewest.images.shape[-1], annotated.images.shape[-1]} == {64}


@pytest.mark.parametrize("junk", [0.0, 0.25, 1.0])
def test_avatars_for_judges_have_the_share_of_junk_and_the_population_asked_for(
    junk: float,
) -> None:
    data = AnnotatedAvatarRenders(
        junk=junk,
        population=replace(Population.even(), age=(0.01, 0.99)),
        batch_size=200,
        batches_per_epoch=3,
        validation_batches=1,
        image_size=32,
    )
    assert [len(each) for each in (data.train_dataloader(), data.test_dataloader())] == [3, 1]
    (batch,) = data.val_dataloader()
    assert batch.images.shape == (200, 3, 32, 32)
    age = list(ATTRIBUTES).index("age")
    assert (batch.labels[:, age] == 1).double().mean() > 0.93
    share = float((batch.kinds > 0).double().mean())
    assert abs(share - junk) <= 4 * (junk * (1 - junk) / 200) ** 0.5


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
    for kind in (AnnotatedRenders, AnnotatedAvatarRenders):
        with pytest.raises(DataModuleError, match="junk is -1"):
            kind(junk=-1)
