"""The combined margin of ArcFace's authors: on the angle and on the cosine."""

import math

from torch import Tensor

from qdgs_lightning.models.heads.angles import BEYOND_PI, BeyondPi, add_angle
from qdgs_lightning.models.heads.base import Gradient, MarginHead
from qdgs_lightning.models.heads.checks import check_choice, check_number


class CombinedMargin(MarginHead):
    r"""All three margins: the target's logit is :math:`s (\cos(m_1 \theta_y + m_2) - m_3)`.

    Deng, Guo, Xue & Zafeiriou, "ArcFace: Additive angular margin loss for deep face recognition",
    CVPR 2019, where (1, 0.3, 0.2) is CM1, the default here, and (0.9, 0.4, 0.15) is CM2. (1, m, 0)
    is ArcFace, (1, 0, m) CosFace, and (m, 0, 0) the margin of SphereFace without its annealing.
    Beware that arcface_torch ignores m2 wherever m3 > 0 and refuses other factors than 1.

    Args:
        embedding_dim: Size d of an embedding.
        num_classes: Number C of rows, one for each identity; more may be reserved.
        m1: Factor on the angle, from 0.1 to 10.
        m2: Added to the angle, in radians, from 0 to pi.
        m3: Taken off the cosine, from 0 to 2.
        scale: The factor s on the cosines.
        gradient: See `MarginHead`.
        beyond_pi: What to do where :math:`m_1 \theta_y + m_2 > \pi`: ``linear`` goes on with
            :math:`\cos\theta_y - \delta \sin\delta - m_3`, :math:`\delta = \pi - (\pi - m_2)/m_1`,
            ``clip`` with :math:`-1 - m_3`, ``ignore`` lets the cosine rise.

    Example:
        >>> head = CombinedMargin(512, 10_572, m1=0.9, m2=0.4, m3=0.15)
        >>> loss = functional.cross_entropy(head(embeddings, labels), labels)
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m1: float = 1.0,
        m2: float = 0.3,
        m3: float = 0.2,
        scale: float = 64.0,
        gradient: Gradient = "exact",
        beyond_pi: BeyondPi = "linear",
    ) -> None:
        super().__init__(embedding_dim, num_classes, scale=scale, gradient=gradient)
        check_number("CombinedMargin", "m1", m1, low=0.1, high=10)
        check_number("CombinedMargin", "m2", m2, low=0, high=math.pi)
        check_number("CombinedMargin", "m3", m3, low=0, high=2)
        check_choice("CombinedMargin", "beyond_pi", beyond_pi, BEYOND_PI)
        self.m1, self.m2, self.m3 = m1, m2, m3
        self.beyond_pi = beyond_pi

    def target_logits(self, cosines: Tensor, norms: Tensor) -> Tensor:
        """Widen the angle and lower the cosine."""
        widened = add_angle(cosines, self.m2, factor=self.m1, beyond_pi=self.beyond_pi)
        return widened - self.m3
