"""ArcFace: a margin on the angle."""

import math

from torch import Tensor

from qdgs_lightning.models.heads.angles import BEYOND_PI, BeyondPi, add_angle
from qdgs_lightning.models.heads.base import Gradient, MarginHead
from qdgs_lightning.models.heads.checks import check_choice, check_number


class ArcFace(MarginHead):
    r"""Additive angular margin: the target's logit is :math:`s \cos(\theta_y + m)`.

    Deng, Guo, Xue & Zafeiriou, "ArcFace: Additive angular margin loss for deep face recognition",
    CVPR 2019; m = 0.5 and s = 64 are theirs. The numbers of arcface_torch come from
    ``gradient="straight_through", beyond_pi="ignore"``, those of the ArcFace in AdaFace's code from
    ``beyond_pi="clip"``; with the latter's "easy margin", which is off in all of them, small
    cosines would get no margin.

    Args:
        embedding_dim: Size d of an embedding.
        num_classes: Number C of rows, one for each identity; more may be reserved.
        margin: The angle m, in radians, from 0 to pi.
        scale: The factor s on the cosines.
        gradient: See `MarginHead`.
        beyond_pi: What to do where :math:`\theta_y + m > \pi`: ``linear`` goes on with
            :math:`\cos\theta_y - m \sin m`, ``clip`` with -1, ``ignore`` lets the cosine rise.

    Example:
        >>> head = ArcFace(512, 10_572)
        >>> loss = functional.cross_entropy(head(embeddings, labels), labels)
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        margin: float = 0.5,
        scale: float = 64.0,
        gradient: Gradient = "exact",
        beyond_pi: BeyondPi = "linear",
    ) -> None:
        super().__init__(embedding_dim, num_classes, scale=scale, gradient=gradient)
        check_number("ArcFace", "margin", margin, low=0, high=math.pi)
        check_choice("ArcFace", "beyond_pi", beyond_pi, BEYOND_PI)
        self.margin = margin
        self.beyond_pi = beyond_pi

    def target_logits(self, cosines: Tensor, norms: Tensor) -> Tensor:
        """Widen the angle by the margin."""
        return add_angle(cosines, self.margin, beyond_pi=self.beyond_pi)
