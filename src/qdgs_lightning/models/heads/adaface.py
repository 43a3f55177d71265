"""AdaFace: a margin that depends on the length of the embedding, which tells image quality."""

import math

import torch
from torch import Tensor

from qdgs_lightning.models.heads.base import Gradient, MarginHead
from qdgs_lightning.models.heads.checks import check_number
from qdgs_lightning.utils.ranks import sum_over_ranks

_EPS = 1e-3
_MAX_NORM = 100.0


class AdaFace(MarginHead):
    r"""Quality-adaptive margin: the target's logit is :math:`s (\cos(\theta_y - m z) - m - m z)`.

    Kim, Jain & Liu, "AdaFace: Quality adaptive margin for face recognition", CVPR 2022.
    :math:`z = h (|f| - \mu) / \sigma`, clipped to [-1, 1], is the length of an embedding against
    running mean and standard deviation, without gradient. Short embeddings (z = -1) get ArcFace's
    margin, average ones (z = 0) CosFace's, and long ones (z = 1) weigh hard samples most.

    The statistics start at 20 and 100 and move by `t_alpha` towards those of each training batch,
    before it is judged. Lengths are first clipped to [0.001, 100], and the widened angle to
    [0.001, pi - 0.001]. The batch is that of all processes together, so that their number does not
    matter (AdaFace's and CVLface's code keep apart ones, of which rank 0's are saved); a batch of
    one has no deviation and moves nothing, nor does one with NaN.

    m = 0.4, h = 0.333 and t_alpha = 0.01 are of the paper and of the scripts of its code, whose
    command line has m = 0.5 and h = 0 when they are not given. As there, rows start with length
    one. CVLface's gradient is straight-through.

    Args:
        embedding_dim: Size d of an embedding.
        num_classes: Number C of rows, one for each identity; more may be reserved.
        margin: The margin m, from 0 to pi / 2.
        h: How far one standard deviation moves z, from 0 to 10.
        t_alpha: Weight of a new batch in the statistics, from 0 to 1.
        scale: The factor s on the cosines.
        gradient: See `MarginHead`.

    Attributes:
        batch_mean: Running mean of lengths, shape ``[1]``, kept in checkpoints.
        batch_std: Running standard deviation, likewise.

    Example:
        >>> head = AdaFace(512, 10_572)
        >>> loss = functional.cross_entropy(head(embeddings, labels), labels)
    """

    batch_mean: Tensor
    batch_std: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        margin: float = 0.4,
        h: float = 0.333,
        t_alpha: float = 0.01,
        scale: float = 64.0,
        gradient: Gradient = "exact",
    ) -> None:
        super().__init__(embedding_dim, num_classes, scale=scale, gradient=gradient)
        check_number("AdaFace", "margin", margin, low=0, high=math.pi / 2)
        check_number("AdaFace", "h", h, low=0, high=10)
        check_number("AdaFace", "t_alpha", t_alpha, low=0, high=1)
        self.margin, self.h, self.t_alpha = margin, h, t_alpha
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    def draw_rows(self, rows: Tensor, generator: torch.Generator | None = None) -> None:
        """Fill rows with random directions of length one."""
        torch.nn.init.normal_(rows, generator=generator)
        with torch.no_grad():
            rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True))

    def observe(self, cosines: Tensor, norms: Tensor, here: Tensor) -> None:
        """Move the statistics towards those of this batch."""
        # Taken from the running mean, squares stay small enough for float32.
        above = torch.where(here, norms.clamp(_EPS, _MAX_NORM) - self.batch_mean, 0.0)
        sums = torch.stack([here.sum().to(above), above.sum(), above.square().sum()])
        count, first, second = sum_over_ranks(sums)
        variance = (second - first.square() / count) / (count - 1)
        # Computed for the smallest batches as well, and not used: looking would make a GPU wait.
        enough = (count >= 2) & second.isfinite()
        weight = torch.where(enough, self.t_alpha, 0.0)
        self.batch_mean.add_(weight * torch.where(enough, first / count, 0.0))
        deviation = variance.clamp_min(0).sqrt() - self.batch_std
        self.batch_std.add_(weight * torch.where(enough, deviation, 0.0))

    def target_logits(self, cosines: Tensor, norms: Tensor) -> Tensor:
        """Widen or narrow the angle and lower the cosine, each by its part of the margin."""
        norms = norms.detach().clamp(_EPS, _MAX_NORM)
        z = (self.h * (norms - self.batch_mean) / (self.batch_std + _EPS)).clamp(-1, 1)
        angles = (cosines.acos() - self.margin * z).clamp(_EPS, math.pi - _EPS)
        return angles.cos() - (self.margin + self.margin * z)
