"""A sheet of what a fit learns from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from qdgs_lightning.callbacks import TrainingImages
from qdgs_lightning.domains.shapes import ShapeClassification, ShapeClassifier, ShapesDataModule
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.figures import image_sheet


@pytest.mark.parametrize(("every", "steps"), [(None, [0]), (2, [0, 8])])
def test_a_sheet_is_logged_when_it_is_due(
    tmp_path: Path, every: int | None, steps: list[int]
) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=4,
        limit_val_batches=0,
        reload_dataloaders_every_n_epochs=1,
        logger=CSVLogger(tmp_path, name="run"),
        callbacks=[TrainingImages(number=4, every_n_epochs=every)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = ShapesDataModule(samples_per_epoch=16, batch_size=4)
    trainer.fit(ShapeClassification(classifier=ShapeClassifier(hidden=4)), data)
    found = sorted(path.name for path in (tmp_path / "run/version_0/figures").iterdir())
    assert found == [f"train-images_step{step:07d}.png" for step in steps]


def test_shapes_are_named_by_their_group() -> None:
    shapes, colours = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    names = ShapesDataModule().label_names([shapes, colours])
    images = [(shape, colour) for shape in ("triangle", "square") for colour in ("red", "blue")]
    assert names == [f"{colour} {shape}" for shape, colour in images]


def test_each_image_has_its_caption_below_it() -> None:
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    figure = image_sheet(images, list("abcde"), across=3, heading="heading")
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.texts[0].get_text() for axes in drawn] == list("abcde")
    for axes, image in zip(drawn, images, strict=True):
        shown = axes.images[0].get_array()
        assert np.array_equal(np.asarray(shown), image.permute(1, 2, 0).numpy())
    assert len(figure.axes) == 6


@pytest.mark.parametrize("lines", [1, 4])
def test_captions_have_room_above_the_next_row(lines: int) -> None:
    captions = [" ".join(["a long caption of words"] * lines)] * 6
    figure = image_sheet(torch.zeros(6, 3, 4, 4), captions, across=2)
    figure.draw_without_rendering()
    grid = [axes for axes in figure.axes if axes.images]
    for above, below in zip(grid[:-2], grid[2:], strict=True):
        assert above.texts[0].get_window_extent().y0 > below.get_window_extent().y1
    for axes in grid:
        extent = axes.get_window_extent()
        assert extent.width == pytest.approx(extent.height, rel=0.01)
        assert extent.width > 60


def test_what_makes_no_sheet_is_told() -> None:
    with pytest.raises(QDGSError, match="2 images with 1 captions make no sheet"):
        image_sheet(torch.zeros(2, 3, 4, 4), ["a"])
    with pytest.raises(QDGSError, match="one image and one epoch or more"):
        TrainingImages(every_n_epochs=0)
