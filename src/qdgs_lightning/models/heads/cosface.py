"""CosFace: a margin on the cosine."""

from torch import Tensor

from qdgs_lightning.models.heads.base import MarginHead
from qdgs_lightning.models.heads.checks import check_number


class CosFace(MarginHead):
    r"""Additive cosine margin: the target's logit is :math:`s (\cos\theta_y - m)`.

    Wang et al., "CosFace: Large margin cosine loss for deep face recognition", CVPR 2018, with
    m = 0.35; here it is 0.4, as in arcface_torch and the code of AdaFace. Exact and
    straight-through gradients are the same, since the margin is a constant.

    Args:
        embedding_dim: Size d of an embedding.
        num_classes: Number C of rows, one for each identity; more may be reserved.
        margin: What is taken off the cosine, m, from 0 to 2.
        scale: The factor s on the cosines.

    Example:
        >>> head = CosFace(512, 10_572, margin=0.35)
        >>> loss = functional.cross_entropy(head(embeddings, labels), labels)
    """

    def __init__(
        self, embedding_dim: int, num_classes: int, *, margin: float = 0.4, scale: float = 64.0
    ) -> None:
        super().__init__(embedding_dim, num_classes, scale=scale)
        check_number("CosFace", "margin", margin, low=0, high=2)
        self.margin = margin

    def target_logits(self, cosines: Tensor, norms: Tensor) -> Tensor:
        """Take the margin off."""
        return cosines - self.margin
