"""NormFace: cosines without a margin."""

from torch import Tensor

from qdgs_lightning.models.heads.base import MarginHead


class NormFace(MarginHead):
    r"""Softmax over scaled cosines, :math:`s \cos\theta_j` for the target as for all others.

    Wang, Xiang, Cheng & Yuille, "NormFace: L2 hypersphere embedding for face verification",
    ACM MM 2017. The paper also learns s; here it is fixed, as in what came after.

    Args:
        embedding_dim: Size d of an embedding.
        num_classes: Number C of rows, one for each identity; more may be reserved.
        scale: The factor s on the cosines.

    Example:
        >>> head = NormFace(512, 10_572)
        >>> loss = functional.cross_entropy(head(embeddings, labels), labels)
    """

    def __init__(self, embedding_dim: int, num_classes: int, *, scale: float = 64.0) -> None:
        super().__init__(embedding_dim, num_classes, scale=scale)

    def target_logits(self, cosines: Tensor, norms: Tensor) -> Tensor:
        """Leave them as they are."""
        return cosines
