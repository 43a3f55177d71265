"""Guidance by pairs of text prompts, scored by CLIP."""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as V

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.guidance.base import Evaluation, Guidance
from qdgs_lightning.guidance.clip import (
    SHAPES_CLIP,
    CLIPError,
    OpenCLIP,
    clip_fingerprint,
    create_clip,
    create_tokenizer,
    image_statistics,
)
from qdgs_lightning.utils.precision import Precision, dtype_of


class PromptError(QDGSError):
    """Prompts that say nothing, such as empty ones, or other numbers than guidance can use."""


@dataclass(frozen=True, kw_only=True)
class PromptPair:
    """What images should resemble, and what they should not.

    Attributes:
        name: Short name of the axis, for figures and tables.
        positive: Towards this the value falls.
        negative: Towards this the value rises.

    Raises:
        PromptError: A prompt is empty, or both are the same.
    """

    name: str
    positive: str
    negative: str

    def __post_init__(self) -> None:
        if not self.positive.strip() or not self.negative.strip():
            raise PromptError(f"A prompt of '{self.name}' is empty: give two sentences.")
        if self.positive.strip() == self.negative.strip():
            raise PromptError(
                f"Both prompts of '{self.name}' are \"{self.positive}\": give two that differ."
            )


SHAPES_OBJECTIVE = PromptPair(
    name="regular",
    positive="A regular square or a triangle.",
    negative="Splatters of colors.",
)
"""The published objective for shapes (Chang et al., AAAI-24)."""

SHAPES_MEASURES = [
    PromptPair(name="red to blue", positive="A red shape.", negative="A blue shape."),
    PromptPair(
        name="triangle to square",
        positive="A triangle with 3 edges.",
        negative="A square or diamond with 4 edges.",
    ),
]
"""The published measures for shapes: colour, then shape."""


FACE_OBJECTIVE = PromptPair(
    name="detailed",
    positive="A detailed photo of an individual with diverse features.",
    negative="An obscure, fake, or discolored photo of a person.",
)
"""The published objective for faces (Chang et al., AAAI-24)."""

FACE_MEASURES = [
    PromptPair(
        name="skin",
        positive="A person with dark skin.",
        negative="A person with light skin.",
    ),
    PromptPair(
        name="gender",
        positive="A masculine person.",
        negative="A feminine person.",
    ),
    PromptPair(
        name="hair",
        positive="A person with long hair.",
        negative="A person with short hair.",
    ),
    PromptPair(
        name="age",
        positive="A person in their 20s.",
        negative="A person in their 50s.",
    ),
]
"""The published measures for faces, in the order of the published grid."""


def spherical_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle between unit vectors, in radians in [0, pi]; gradients stay finite between the ends.

    Args:
        a: Shape ``[..., d]``.
        b: Shape broadcast with `a`.

    Returns:
        Angles of the broadcast shape without its last dimension.
    """
    # Twice the arcsine of half the chord, as published, but as an arctangent: the arcsine's slope
    # is infinite where the vectors are opposite.
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


def uniqueness(embeddings: Tensor, memory: Tensor) -> Tensor:
    """How far images are from all that are remembered (Chang et al., AAAI-24).

    Args:
        embeddings: Unit vectors, shape ``[n, d]``.
        memory: Unit vectors, shape ``[m, d]``, with at least one row.

    Returns:
        ``100 / m`` times the spherical distance to the nearest row of `memory`, shape ``[n]``.
    """
    nearest = spherical_distance(embeddings.unsqueeze(1), memory).amin(dim=1)
    return 100 * nearest / len(memory)


class PromptGuidance(Guidance):
    """One objective and some measures from pairs of prompts (Chang et al., AAAI-24).

    The value of a pair is the spherical distance of the image to the positive prompt minus that to
    the negative one, in radians. Measures are such values; the objective is ``100 - 50 * value``,
    so that an image that is equally far from both scores 100 and a better one more.

    The published uniqueness term is an option. A memory holds the CLIP embeddings of images that
    the search has found; ``uniqueness_weight * (1 - u)`` is added to the value of the objective
    pair, where u is 100 times the spherical distance to the nearest of them, over their number.
    Nothing is added while the memory is empty. The term makes the objective non-stationary: it
    changes whenever an image is remembered, and objectives in an archive are what images scored
    when they were found. Judging them again does not reproduce those; outside of a search the
    memory is empty, and judges know the prompts alone. As published, too, u is divided by the size
    of the memory, so that what is found while that is small scores far higher than anything later.

    Args:
        objective: What a good image is and is not.
        measures: The axes to cover, each between two prompts; those published for shapes if left
            out.
        model: A model name of open_clip, or ``"shapes_clip"``.
        pretrained: One of its tags, the path of a weights file, or a shipped name; see
            `create_clip` for what a file does not say.
        precision: Of the image encoder, by `torch.autocast`; sentences and distances are float32.
            With the shipped CLIPs, whose measures of samples have a standard deviation of 0.35 to
            0.6, ``bfloat16`` moves them by 0.001 to 0.002 on average, and ``float16`` by a tenth
            of that.
        cutouts: Besides the whole image, judge the mean over this many crops. They are drawn once,
            so that an image always gets the same value.
        seed: Of the crops.
        norm_limit: Latents longer than this cost objective; ``None`` for no limit.
        norm_weight: Cost per squared unit of excess length, as a value of the objective pair.
        uniqueness_weight: Weight of the uniqueness term, at least 0, which is none; published are
            0.2 for faces and 0 for shapes.
        memory_size: How many images are remembered, at least 1; the oldest make room.

    Raises:
        CLIPError: From `prepare`: no such model or weights.
        PrecisionError: There is no such precision.
        PromptError: There is no measure, or two have one name; the weight is negative or the
            memory too small.

    Example:
        >>> guidance = PromptGuidance()  # the published prompts for shapes
        >>> guidance.prepare()
        >>> objective, measures = guidance(images, latents)  # [n], [n, 2]
    """

    # A value of the objective pair below 1, as published, before it is scaled.
    remember_above = 50.0

    prompts: Tensor
    mean: Tensor
    std: Tensor
    memory: Tensor

    def __init__(
        self,
        *,
        objective: PromptPair = SHAPES_OBJECTIVE,
        measures: list[PromptPair] | None = None,
        model: str = SHAPES_CLIP,
        pretrained: str | None = SHAPES_CLIP,
        precision: Precision = "float32",
        cutouts: int = 0,
        seed: int = 0,
        norm_limit: float | None = None,
        norm_weight: float = 0.5,
        uniqueness_weight: float = 0.0,
        memory_size: int = 100,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.pairs = SHAPES_MEASURES if measures is None else measures
        self.measure_names = tuple(pair.name for pair in self.pairs)
        if not self.pairs or len(set(self.measure_names)) < len(self.pairs):
            raise PromptError("Guidance needs at least one measure, and each its own name.")
        if not 0 <= uniqueness_weight < math.inf:
            raise PromptError(
                f"uniqueness_weight is {uniqueness_weight}: give a finite number of at least "
                "0, which leaves the term out."
            )
        if cutouts < 0:
            raise PromptError(f"cutouts is {cutouts}: give how many, or 0 for the whole image.")
        if memory_size < 1:
            raise PromptError(
                f"memory_size is {memory_size}: give at least 1, or leave the term out with "
                "`uniqueness_weight: 0`."
            )
        dtype_of(precision)
        self.model = model
        self.pretrained = pretrained
        self.precision = precision
        self.cutouts = cutouts
        self.seed = seed
        self.norm_limit = norm_limit
        self.norm_weight = norm_weight
        self.uniqueness_weight = uniqueness_weight
        self.memory_size = memory_size
        self.remembers = uniqueness_weight > 0
        self.clip: nn.Module | None = None
        self._fingerprint: str | None = None
        self.register_buffer("memory", torch.empty(0, 0), persistent=False)

    def prepare(self) -> None:
        """Load CLIP and encode the prompts, once.

        Raises:
            CLIPError: There are no such model or weights.
        """
        if self.clip is not None:
            return
        tokenizer = create_tokenizer(self.model)
        self.clip = create_clip(self.model, self.pretrained)
        self._fingerprint = clip_fingerprint(self.clip)
        self.image_size, mean, std = image_statistics(self.clip)
        pairs = [self.objective, *self.pairs]
        sentences = [text for pair in pairs for text in (pair.positive, pair.negative)]
        with torch.no_grad():
            tokens = tokenizer(sentences)
            prompts = F.normalize(cast(OpenCLIP, self.clip).encode_text(tokens).float(), dim=-1)
        self.register_buffer("prompts", prompts, persistent=False)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.corners = torch.rand(
            self.cutouts, 3, generator=torch.Generator().manual_seed(self.seed)
        )
        super().prepare()

    def embed(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: RGB in [0, 1], shape ``[n, 3, S, S]``.

        Returns:
            Unit vectors, shape ``[n, d]``.
        """
        size = [self.image_size, self.image_size]
        if list(images.shape[-2:]) != size:
            images = V.resize(images, size, antialias=True)
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        dtype = dtype_of(self.precision)
        whole = dtype is torch.float32
        with nullcontext() if whole else torch.autocast(images.device.type, dtype):
            embeddings = cast(OpenCLIP, self.clip).encode_image(images)
        return F.normalize(embeddings.to(self.prompts), dim=-1)

    def _values(self, embeddings: Tensor) -> Tensor:
        """Value of each pair, objective first, shape ``[n, 1 + measures]``."""
        distances = spherical_distance(embeddings.unsqueeze(1), self.prompts)
        return distances[:, 0::2] - distances[:, 1::2]

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge images; see `Guidance.forward`."""
        embeddings = self.embed(images)
        values = self._values(embeddings)
        for crop in self.corners.tolist():
            values = values + self._values(self.embed(_cut(images, *crop)))
        values = values / (1 + self.cutouts)
        cost = values[:, 0]
        if self.norm_limit is not None:
            excess = (latents.flatten(1).norm(dim=1) - self.norm_limit).clamp(min=0)
            cost = cost + self.norm_weight * excess.square()
        if self.remembers and len(self.memory):
            cost = cost + self.uniqueness_weight * (1 - uniqueness(embeddings, self.memory))
        return Evaluation(objective=100 - 50 * cost, measures=values[:, 1:])

    def measure_ends(self) -> tuple[tuple[str, str] | None, ...]:
        """Return the prompts of each measure; values fall towards the first of them."""
        return tuple((pair.positive, pair.negative) for pair in self.pairs)

    def describe(self) -> dict[str, object]:
        """Say which model judges by which prompts; its weights are known by what is in them.

        Raises:
            CLIPError: They are not loaded yet.
        """
        if self._fingerprint is None:
            raise CLIPError(
                f"The weights of {self.model} are not loaded yet; call prepare() first."
            )
        return {
            "class": type(self).__name__,
            "model": self.model,
            "weights": self._fingerprint,
            "precision": self.precision,
            "objective": [self.objective.positive, self.objective.negative],
            "measures": [[pair.positive, pair.negative] for pair in self.pairs],
            "cutouts": self.cutouts,
            "seed": self.seed,
            "norm_limit": self.norm_limit,
            "norm_weight": self.norm_weight,
            "uniqueness_weight": self.uniqueness_weight,
            "memory_size": self.memory_size,
        }

    @torch.no_grad()
    def remember(self, images: Tensor) -> None:
        """Add images to the memory, whose oldest make room; see `Guidance.remember`."""
        if self.remembers:
            embeddings = self.embed(images)
            known = [self.memory, embeddings] if len(self.memory) else [embeddings]
            # A tensor of its own: a slice would keep, and save, the rows that it leaves out.
            self.memory = torch.cat(known)[-self.memory_size :].clone()

    def memory_state(self) -> dict[str, Tensor]:
        """Return the embeddings that are remembered, oldest first, if there are any."""
        return {"embeddings": self.memory.cpu().clone()} if len(self.memory) else {}

    def load_memory_state(self, state: dict[str, Tensor]) -> None:
        """Replace what is remembered; see `Guidance.load_memory_state`."""
        self.memory = state.get("embeddings", torch.empty(0, 0)).to(self.memory, copy=True)


def _cut(images: Tensor, size: float, x: float, y: float) -> Tensor:
    """Crop squares of at least half the side; size and place are given as shares in [0, 1]."""
    side = images.shape[-1]
    cut = max(1, round(side * (1 + size) / 2))
    left, top = (round((side - cut) * place) for place in (x, y))
    return images[..., top : top + cut, left : left + cut]
