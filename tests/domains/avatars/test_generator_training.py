"""Training of a StyleGAN2 by regression: it learns what it is shown, and keeps it in a file."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader

from qdgs_lightning.domains.avatars import AvatarRenders, StyleGAN2Regression
from qdgs_lightning.domains.avatars.dataset import (
    NORMALS,
    Population,
    avatar_styles,
    style_attributes,
)
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.generators.stylegan2 import StyleGAN2Error


def _task(*, half_size_epochs: int = 0) -> StyleGAN2Regression:
    torch.manual_seed(0)
    return StyleGAN2Regression(
        optimizer=partial(Adam, lr=1e-2, betas=(0.9, 0.99)),
        scheduler=partial(ConstantLR, factor=1.0),
        channels=(16, 16, 8, 8),
        image_size=32,
        half_size_epochs=half_size_epochs,
    )


def _trained(task: StyleGAN2Regression, *, epochs: int, folder: Path) -> dict[str, float]:
    data = AvatarRenders(
        batch_size=8, latents=256, batches_per_epoch=15, validation_batches=1, image_size=32
    )
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(task, data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


Learnt = tuple[StyleGAN2Regression, dict[str, float]]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    task = _task()
    return task, _trained(task, epochs=2, folder=tmp_path_factory.mktemp("learnt"))


def test_it_learns_images_and_styles(learnt: Learnt) -> None:
    _, metrics = learnt
    # A grey image is off by a quarter, and styles of nothing but zeros by their variance.
    assert metrics["train/pixels"] < 0.2
    assert metrics["train/mapping"] < 0.75


def test_the_file_holds_what_was_learnt(learnt: Learnt, tmp_path: Path) -> None:
    task, _ = learnt
    path = tmp_path / "generator.safetensors"
    task.export(path)
    generator = StyleGAN2Generator(path)
    generator.prepare()
    assert generator.latent_shape == (NORMALS,)
    latents = generator.sample_latents(4000, torch.Generator().manual_seed(1))
    # Normalised by their own mean and deviation.
    assert latents.mean(dim=0).abs().max() < 0.1
    assert latents.std(dim=0).sub(1).abs().max() < 0.1
    # Half precision: half a level of 256 or so.
    z = torch.randn(4, NORMALS, generator=torch.Generator().manual_seed(1))
    task.eval()
    with torch.no_grad():
        ws = task.network.mapping(z)
        drawn: Tensor = (task.network.synthesis(ws, "none") / 2 + 0.5).clamp(0, 1)
        assert torch.allclose(generator(latents[:4]), drawn, atol=0.01)
    assert path.stat().st_size < 2.5 * sum(p.numel() for p in task.network.parameters())


class _Losses(L.Callback):
    """Keeps the loss of every batch."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        self.found.append(float(args[2]["loss"]))


def test_the_loss_is_of_pixels_edges_patches_styles_and_attributes(tmp_path: Path) -> None:
    task, losses = _task(), _Losses()
    task.optimizer = partial(SGD, lr=0.0)
    batch = AvatarRenders(batch_size=3, latents=20, image_size=32).draw(torch.Generator())
    with torch.no_grad():
        styles = batch.w[:3, None].expand(-1, task.network.synthesis.num_ws, -1)
        error = (task.network.synthesis(styles, "none") + 1) / 2 - batch.images
        w = task.network.mapping(batch.z)[:, 0]
        edges = [
            (error[:, :, 1:] - error[:, :, :-1]).abs().mean(),
            (error[..., 1:] - error[..., :-1]).abs().mean(),
        ]
        patches = error.reshape(3, 3, 8, 4, 8, 4).mean((3, 5))
        attributes = style_attributes(w) - style_attributes(batch.w)
        parts = [
            error.abs().mean(),
            *edges,
            4 * patches.square().mean(),
            0.1 * (w - batch.w).square().mean(),
            0.05 * attributes.square().mean(),
        ]
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[losses],
    )
    trainer.fit(task, DataLoader([batch], batch_size=None))  # type: ignore[arg-type]
    assert losses.found == pytest.approx([float(sum(parts))], rel=1e-4)


def test_small_images_come_first(tmp_path: Path) -> None:
    task = _task(half_size_epochs=1)
    before = {name: value.clone() for name, value in task.network.synthesis.state_dict().items()}
    _trained(task, epochs=1, folder=tmp_path)
    changed = {
        name.partition(".")[0]
        for name, value in task.network.synthesis.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"b4", "b8", "b16"}


def test_styles_stand_for_the_population_that_was_asked_for() -> None:
    even = AvatarRenders(population=Population.even(), batch_size=2, latents=500)
    batch = even.draw(torch.Generator().manual_seed(0))
    assert (len(batch.images), len(batch.w), len(batch.z)) == (2, 500, 500)
    unit = batch.z * (NORMALS**0.5 / batch.z.norm(dim=1, keepdim=True))
    assert torch.allclose(batch.w, avatar_styles(Population.even().avatars(unit)), atol=1e-5)


def test_no_resolution_that_there_is_not() -> None:
    network = _task().network
    with pytest.raises(StyleGAN2Error, match=r"is 64; this network has images of \[4, 8"):
        network.synthesis(torch.zeros(1, network.synthesis.num_ws, NORMALS), resolution=64)
