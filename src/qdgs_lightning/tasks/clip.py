"""Training of the small CLIP on captioned shapes."""

from pathlib import Path
from typing import cast

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from qdgs_lightning.datasets.annotated import AnnotatedImages
from qdgs_lightning.datasets.captions import CAPTIONS, caption_truth
from qdgs_lightning.guidance.clip import (
    SHAPES_CLIP,
    OpenCLIP,
    create_clip,
    create_tokenizer,
    image_statistics,
)
from qdgs_lightning.guidance.prompts import SHAPES_MEASURES, SHAPES_OBJECTIVE, spherical_distance
from qdgs_lightning.tasks.optimization import stepped_per_batch
from qdgs_lightning.weights.files import save_weights


def contrastive_loss(similarities: Tensor, truth: Tensor) -> Tensor:
    """Contrast images with captions where several pairs are true.

    The cross-entropy of each image's captions against an even spread over the true ones, and the
    same for each caption's images (as UniCL, Yang et al., CVPR 2022). Undecided pairs take no
    part; rows without any true pair have no say.

    Args:
        similarities: Scaled cosines, shape ``[images, captions]``.
        truth: 1 true, 0 false, nan undecided, same shape.

    Returns:
        The mean of both directions.
    """
    similarities = similarities.masked_fill(truth.isnan(), -torch.inf)
    truth = truth.nan_to_num(0)

    def one_way(logits: Tensor, positives: Tensor) -> Tensor:
        has_positive = positives.any(dim=1)
        logits, positives = logits[has_positive], positives[has_positive]
        terms = torch.where(positives > 0, logits.log_softmax(dim=1), 0).sum(dim=1)
        return -(terms / positives.sum(dim=1)).mean()

    return (one_way(similarities, truth) + one_way(similarities.T, truth.T)) / 2


class CLIPTraining(L.LightningModule):
    """Trains the shapes' CLIP by contrast between annotated renders and true captions.

    Validation asks the published prompts, zero-shot: ``val/shape`` and ``val/colour`` are
    accuracies on clear shapes, ``val/objective`` is the probability that a clear shape has a higher
    objective than a piece of junk.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the scheduler, stepped after every batch, from the optimizer.
        captions_per_step: How many of the captions each batch of images is held against.
        seed: Of the choice of captions.
    """

    captions: Tensor
    questions: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable,
        captions_per_step: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.captions_per_step = captions_per_step
        self.seed = seed
        self.clip: nn.Module = create_clip(SHAPES_CLIP, None).train()
        tokenizer = create_tokenizer(SHAPES_CLIP)
        _, mean, std = image_statistics(self.clip)
        prompts = [SHAPES_OBJECTIVE, *SHAPES_MEASURES]
        sentences = [text for pair in prompts for text in (pair.positive, pair.negative)]
        for name, value in {
            "captions": tokenizer(list(CAPTIONS)),
            "questions": tokenizer(sentences),
            "mean": mean,
            "std": std,
        }.items():
            self.register_buffer(name, value, persistent=False)

    def _encode_images(self, images: Tensor) -> Tensor:
        """Unit vectors of images ``[n, 3, S, S]`` in [0, 1]."""
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return F.normalize(cast(OpenCLIP, self.clip).encode_image(images), dim=-1)

    def _encode_text(self, tokens: Tensor) -> Tensor:
        """Unit vectors of sentences ``[n, length]``."""
        return F.normalize(cast(OpenCLIP, self.clip).encode_text(tokens), dim=-1)

    def training_step(self, batch: AnnotatedImages, batch_idx: int) -> Tensor:
        """Return the contrastive loss on annotated images."""
        step = self.trainer.current_epoch << 20 | batch_idx
        source = torch.Generator().manual_seed((self.seed << 32) + step)
        chosen = torch.randperm(len(CAPTIONS), generator=source)[: self.captions_per_step]
        truth = caption_truth(AnnotatedImages(*(field.cpu() for field in batch)), chosen)
        images = self._encode_images(batch.images)
        texts = self._encode_text(self.captions[chosen.to(self.device)])
        scale = cast(OpenCLIP, self.clip).logit_scale.exp()
        loss = contrastive_loss(scale * images @ texts.T, truth.to(self.device))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: AnnotatedImages, batch_idx: int) -> None:
        """Ask the published prompts about held-out renders."""
        prompts = self._encode_text(self.questions)
        distances = spherical_distance(self._encode_images(batch.images).unsqueeze(1), prompts)
        regular, colour, shape = (distances[:, 0::2] - distances[:, 1::2]).unbind(dim=1)
        clear = batch.kinds == 0
        right = {
            "val/colour": (colour[clear] >= 0) == (batch.colours[clear] == 1),
            "val/shape": (shape[clear] >= 0) == (batch.shapes[clear] == 1),
            "val/objective": regular[clear].unsqueeze(1) < regular[~clear],
        }
        self.log_dict(
            {name: value.float().mean() for name, value in right.items()},
            prog_bar=True,
            batch_size=len(clear),
            sync_dist=True,
        )

    def export(self, path: Path) -> None:
        """Write CLIP's weights; see `ExportWeights`."""
        save_weights(self.clip, path)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build what was injected."""
        return stepped_per_batch(self.parameters(), self.optimizer, self.scheduler)
