"""Training of the small CLIPs on captioned images, one per domain."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from qdgs_lightning.guidance.clip import (
    OpenCLIP,
    create_clip,
    create_tokenizer,
    image_statistics,
)
from qdgs_lightning.guidance.prompts import (
    PromptPair,
    spherical_distance,
)
from qdgs_lightning.tasks.labelled import Labelled
from qdgs_lightning.tasks.optimization import stepped_per_batch
from qdgs_lightning.utils.seeding import check_seed, seeded_generator
from qdgs_lightning.weights.files import save_weights

Annotated = TypeVar("Annotated", bound=Labelled)


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


class CLIPTraining(L.LightningModule, ABC, Generic[Annotated]):
    """Trains a small CLIP by contrast between annotated renders and true captions.

    Subclasses say what the captions of a domain are, and which are true of which image.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the scheduler, stepped after every batch, from the optimizer.
        captions_per_step: How many of the captions each batch of images is held against.
        seed: Of the choice of captions.
    """

    model_name: str
    sentences: Sequence[str]
    prompts: Sequence[PromptPair]  # asked in validation, the objective first
    answer_names: Sequence[str]  # keys of `answers`

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
        check_seed(seed)
        self.seed = seed
        self.right = nn.ModuleDict({name: MeanMetric() for name in self.answer_names})
        self.clip: nn.Module = create_clip(self.model_name, None).train()
        tokenizer = create_tokenizer(self.model_name)
        _, mean, std = image_statistics(self.clip)
        questions = [text for pair in self.prompts for text in (pair.positive, pair.negative)]
        for name, value in {
            "captions": tokenizer(list(self.sentences)),
            "questions": tokenizer(questions),
            "mean": mean,
            "std": std,
        }.items():
            self.register_buffer(name, value, persistent=False)

    @abstractmethod
    def truth(self, batch: Annotated, captions: Tensor) -> Tensor:
        """Say which captions are true of which images.

        Args:
            batch: n annotated images.
            captions: Indices into `sentences`, on the CPU, shape ``[m]``.

        Returns:
            1 true, 0 false, nan undecided; shape ``[n, m]``, on the CPU.
        """

    @abstractmethod
    def answers(self, batch: Annotated, values: Tensor) -> dict[str, Tensor]:
        """Compare what the prompts say of images with the truth.

        Args:
            batch: n annotated images.
            values: Of each pair in `prompts`, as `PromptGuidance` has them, shape ``[n, pairs]``.

        Returns:
            Right or wrong, by name.
        """

    def _encode_images(self, images: Tensor) -> Tensor:
        """Unit vectors of images ``[n, 3, S, S]`` in [0, 1]."""
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return F.normalize(cast(OpenCLIP, self.clip).encode_image(images), dim=-1)

    def _encode_text(self, tokens: Tensor) -> Tensor:
        """Unit vectors of sentences ``[n, length]``."""
        return F.normalize(cast(OpenCLIP, self.clip).encode_text(tokens), dim=-1)

    def training_step(self, batch: Annotated, batch_idx: int) -> Tensor:
        """Return the contrastive loss on annotated images."""
        source = seeded_generator(self.seed, self.trainer.current_epoch, batch_idx)
        chosen = torch.randperm(len(self.sentences), generator=source)[: self.captions_per_step]
        truth = self.truth(batch, chosen)
        images = self._encode_images(batch.images)
        texts = self._encode_text(self.captions[chosen.to(self.device)])
        scale = cast(OpenCLIP, self.clip).logit_scale.exp()
        loss = contrastive_loss(scale * images @ texts.T, truth.to(self.device))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Annotated, batch_idx: int) -> None:
        """Ask the published prompts about held-out renders."""
        prompts = self._encode_text(self.questions)
        distances = spherical_distance(self._encode_images(batch.images).unsqueeze(1), prompts)
        right = self.answers(batch, distances[:, 0::2] - distances[:, 1::2])
        for name, value in right.items():
            # Over all batches alike: one of them may have nobody of a group.
            metric = cast(MeanMetric, self.right[name])
            metric.update(value.float())
            self.log(f"val/{name}", metric, prog_bar=True, batch_size=len(batch.images))

    def export(self, path: Path) -> None:
        """Write CLIP's weights; see `ExportWeights`."""
        save_weights(self.clip, path)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build what was injected."""
        return stepped_per_batch(self.parameters(), self.optimizer, self.scheduler)
