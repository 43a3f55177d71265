"""Training of the small CLIPs: the contrast by hand, and prompts with known answers."""

import math
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader

from qdgs_lightning.domains.avatars import AvatarsCLIPTraining
from qdgs_lightning.domains.avatars.labelled import AnnotatedAvatars
from qdgs_lightning.domains.shapes import ShapesCLIPTraining
from qdgs_lightning.domains.shapes.captions import CAPTIONS, caption_truth
from qdgs_lightning.domains.shapes.labelled import AnnotatedImages
from qdgs_lightning.guidance.clip import create_tokenizer, image_statistics
from qdgs_lightning.tasks.clip import contrastive_loss

STILL = {"optimizer": partial(SGD, lr=0.0), "scheduler": partial(ConstantLR, factor=1.0)}
NAN = math.nan


def one_way(similarities: list[list[float]], truth: list[list[float]]) -> float:
    """The mean over rows with a true pair of the mean over true pairs, undecided ones left out."""
    rows = []
    for values, labels in zip(similarities, truth, strict=True):
        decided = [(v, t) for v, t in zip(values, labels, strict=True) if not math.isnan(t)]
        true = [v for v, t in decided if t == 1]
        if true:
            whole = math.log(sum(math.exp(v) for v, _ in decided))
            rows.append(sum(whole - v for v in true) / len(true))
    return sum(rows) / len(rows)


def test_the_contrast_is_of_both_directions_and_without_undecided_pairs() -> None:
    similarities = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([[1, 0, NAN, 1, 0], [0, NAN, 1, 0, 0], [0, 0, 0, 0, NAN]])
    both = [
        one_way(values.tolist(), labels.tolist())
        for values, labels in ((similarities, truth), (similarities.T, truth.T))
    ]
    assert both[0] != pytest.approx(both[1], rel=0.05)
    assert float(contrastive_loss(similarities, truth)) == pytest.approx(sum(both) / 2, rel=1e-5)


def test_prompts_about_clear_shapes_and_junk() -> None:
    torch.manual_seed(0)
    task = ShapesCLIPTraining(**STILL)  # type: ignore[arg-type]
    batch = AnnotatedImages(
        torch.zeros(5, 3, 8, 8),
        torch.tensor([0, 1, 1, 0, 2]),
        torch.tensor([1, 0, 1, 0, 2]),
        torch.tensor([0, 0, 0, 0, 3]),
    )
    # Objective (lower is better), colour and shape: at zero and above they say blue and square.
    values = torch.tensor(
        [[-1.0, 0.0, -0.2], [0.5, 0.3, 0.0], [0.1, -0.1, 0.4], [0.3, -2, 0.1], [0.2, 9, 9]]
    )
    found = task.answers(batch, values)
    assert found["colour"].tolist() == [True, False, False, True]
    assert found["shape"].tolist() == [True, True, True, False]
    assert found["objective"].flatten().tolist() == [True, False, True, False]


def test_prompts_about_avatars_of_either_class() -> None:
    torch.manual_seed(0)
    task = AvatarsCLIPTraining(**STILL)  # type: ignore[arg-type]
    # Light masculine short young, mixed androgynous long old, dark feminine long young; junk.
    labels = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 1, 0], [2, 0, 0, 0]])
    batch = AnnotatedAvatars(torch.zeros(4, 3, 8, 8), labels, torch.tensor([0, 0, 0, 1]))
    low = torch.tensor([[0.0, -1, -1, -1, -1]]).expand(4, 5).clone()
    low[:, 0] = torch.tensor([0.1, 0.4, 0.2, 0.3])
    found = task.answers(batch, low)
    # Below zero: dark, masculine, long, young.
    assert found["skin"].tolist() == [False, True]
    assert found["gender"].tolist() == [True, False]
    assert found["hair"].tolist() == [False, True, True]
    assert found["age"].tolist() == [True, False, True]
    assert found["objective"].flatten().tolist() == [True, False, True]


def test_a_step_contrasts_images_with_captions_drawn_anew(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = ShapesCLIPTraining(captions_per_step=len(CAPTIONS), **STILL)  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(1)
    pictures = torch.rand(4, 3, 64, 64, generator=random)
    kinds = torch.tensor([0, 0, 0, 0])
    batch = AnnotatedImages(pictures, torch.tensor([0, 1, 1, 0]), torch.tensor([1, 0, 1, 0]), kinds)
    size, mean, std = image_statistics(task.clip)
    pictures = F.interpolate(pictures, size, mode="bilinear")
    batch = batch._replace(images=pictures)
    with torch.no_grad():
        seen = task.clip.encode_image((pictures - mean) / std)  # type: ignore[operator]
        tokens = create_tokenizer(task.model_name)(list(CAPTIONS))
        read = task.clip.encode_text(tokens)  # type: ignore[operator]
        cosines = F.cosine_similarity(seen[:, None], read[None], dim=-1)
        scale = float(task.clip.logit_scale.exp())  # type: ignore[operator]
    truth = caption_truth(batch, torch.arange(len(CAPTIONS)))
    expected = contrastive_loss(scale * cosines, truth)  # whatever the order of captions
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, DataLoader([batch], batch_size=None))  # type: ignore[arg-type]
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(float(expected), rel=1e-4)
