"""Training of the annotators: the loss by hand, and accuracies of known answers."""

import copy
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader

from qdgs_lightning.domains.avatars import AvatarReaderTraining
from qdgs_lightning.domains.avatars.labelled import AnnotatedAvatars
from qdgs_lightning.domains.shapes import ShapeAnnotatorTraining
from qdgs_lightning.domains.shapes.labelled import AnnotatedImages

STILL = {"optimizer": partial(SGD, lr=0.0), "scheduler": partial(ConstantLR, factor=1.0)}


def trainer(folder: Path) -> L.Trainer:
    return L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def batches(*parts: AnnotatedImages) -> DataLoader[AnnotatedImages]:
    return DataLoader(list(parts), batch_size=None)  # type: ignore[arg-type]


def images(n: int, seed: int) -> AnnotatedImages:
    random = torch.Generator().manual_seed(seed)
    shapes, colours = torch.randint(3, (2, n), generator=random)
    pictures = torch.rand(n, 3, 32, 32, generator=random)
    return AnnotatedImages(pictures, shapes, colours, torch.zeros(n, dtype=torch.int64))


def log_likelihood(logits: Tensor, classes: Tensor) -> float:
    """Mean of what each row says of its class, one by one."""
    rows = zip(logits.double().detach(), classes.tolist(), strict=True)
    return sum(float(row[true] - row.exp().sum().log()) for row, true in rows) / len(classes)


def test_the_loss_sums_the_cross_entropies_of_the_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task, batch = ShapeAnnotatorTraining(**STILL), images(6, 0)  # type: ignore[arg-type]
    shape, colour = copy.deepcopy(task.annotator).train()(batch.images)
    ours = trainer(tmp_path)
    ours.fit(task, batches(batch))
    expected = -log_likelihood(shape, batch.shapes) - log_likelihood(colour, batch.colours)
    assert float(ours.callback_metrics["train/loss"]) == pytest.approx(expected, rel=1e-5)


def test_accuracies_are_over_all_batches_and_of_their_own_stage(tmp_path: Path) -> None:
    torch.manual_seed(1)
    task = ShapeAnnotatorTraining(**STILL)  # type: ignore[arg-type]
    parts = images(7, 1), images(2, 2)
    with torch.no_grad():
        said = [[each.argmax(1) for each in task.annotator.eval()(part.images)] for part in parts]
    ours = trainer(tmp_path)
    for _ in range(2):  # the second counts nothing of the first
        (found,) = ours.validate(task, batches(*parts), verbose=False)
    (tested,) = ours.test(task, batches(parts[1]), verbose=False)
    for place, name in enumerate(("shape", "colour")):
        right = [
            (words[place] == part[1 + place]).tolist()
            for words, part in zip(said, parts, strict=True)
        ]
        assert found[f"val/{name}_accuracy"] == pytest.approx(sum(map(sum, right)) / 9)
        assert tested[f"test/{name}_accuracy"] == pytest.approx(sum(right[1]) / 2)


def test_junk_has_no_attributes_and_is_told_from_clear_avatars(tmp_path: Path) -> None:
    task = AvatarReaderTraining(**STILL)  # type: ignore[arg-type]
    labels = torch.tensor([[0, 1, 1, 0], [2, 2, 0, 1], [1, 0, 1, 1]])
    batch = AnnotatedAvatars(torch.rand(3, 3, 64, 64), labels, torch.tensor([0, 4, 0]))
    *attributes, quality = task.truth(batch)
    assert torch.stack(list(attributes), 1).tolist() == [[0, 1, 1, 0], [-1] * 4, [1, 0, 1, 1]]
    assert quality.tolist() == [0, 1, 0]
    (found,) = trainer(tmp_path).validate(
        task,
        DataLoader([batch], batch_size=None),  # type: ignore[arg-type]
        verbose=False,
    )
    with torch.no_grad():
        said = torch.stack([each.argmax(1) for each in task.annotator.eval()(batch.images)], 1)
    clear = said[[0, 2], :4] == labels[[0, 2]]
    for name, right in zip(("skin", "gender", "hair", "age"), clear.T, strict=True):
        assert found[f"val/{name}_accuracy"] == pytest.approx(float(right.double().mean()))
    right = said[:, 4] == quality
    assert found["val/quality_accuracy"] == pytest.approx(float(right.double().mean()))
