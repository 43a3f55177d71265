"""CurricularFace: ArcFace's margin, and harder wrong answers as training goes on."""

import math

import torch
from torch import Tensor

from qdgs_lightning.models.heads.angles import add_angle
from qdgs_lightning.models.heads.base import Gradient, MarginHead
from qdgs_lightning.models.heads.checks import check_number
from qdgs_lightning.utils.ranks import sum_over_ranks


class CurricularFace(MarginHead):
    r"""Adaptive curriculum: :math:`s \cos(\theta_y + m)` against harder :math:`s \cos\theta_j`.

    Huang et al., "CurricularFace: Adaptive curriculum learning loss for deep face recognition",
    CVPR 2020. Where another cosine exceeds :math:`\cos(\theta_y + m)`, it becomes
    :math:`\cos\theta_j (t + \cos\theta_j)`. t starts at 0 and follows the mean target cosine by
    0.01 per training batch, before it is used: hard wrong answers count little at first, much
    later. The batch is that of all processes together, so that their number does not matter (the
    published code has one t for each). Where :math:`\theta_y + m > \pi`, the target's logit is
    :math:`s (\cos\theta_y - m \sin m)`.

    Args:
        embedding_dim: Size d of an embedding.
        num_classes: Number C of rows, one for each identity; more may be reserved.
        margin: The angle m, in radians, from 0 to pi.
        t_alpha: Weight of a new batch in t, from 0 to 1.
        scale: The factor s on the cosines.
        gradient: See `MarginHead`.

    Attributes:
        t: Running mean of the target's cosine, shape ``[1]``, kept in checkpoints.

    Example:
        >>> head = CurricularFace(512, 10_572)
        >>> loss = functional.cross_entropy(head(embeddings, labels), labels)
    """

    t: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        margin: float = 0.5,
        t_alpha: float = 0.01,
        scale: float = 64.0,
        gradient: Gradient = "exact",
    ) -> None:
        super().__init__(embedding_dim, num_classes, scale=scale, gradient=gradient)
        check_number("CurricularFace", "margin", margin, low=0, high=math.pi)
        check_number("CurricularFace", "t_alpha", t_alpha, low=0, high=1)
        self.margin, self.t_alpha = margin, t_alpha
        self.register_buffer("t", torch.zeros(1))

    def observe(self, cosines: Tensor, norms: Tensor, here: Tensor) -> None:
        """Move t towards the mean target cosine of this batch."""
        found = torch.where(here, cosines - self.t, 0.0)
        count, total = sum_over_ranks(torch.stack([here.sum().to(found), found.sum()]))
        # A batch that is not finite would stay in t for good.
        self.t.add_(torch.where(total.isfinite(), self.t_alpha * total / count.clamp_min(1), 0.0))

    def target_logits(self, cosines: Tensor, norms: Tensor) -> Tensor:
        """Widen the angle by the margin."""
        return add_angle(cosines, self.margin, beyond_pi="linear")

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Change those that are larger than the target's with its margin."""
        limit = add_angle(target_cosines, self.margin, beyond_pi="ignore")[:, None]
        return torch.where(cosines > limit, cosines * (self.t + cosines), cosines)
