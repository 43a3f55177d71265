"""Margin heads: embeddings and identities in, logits or a loss out."""

from qdgs_lightning.models.heads.adaface import AdaFace
from qdgs_lightning.models.heads.angles import BeyondPi
from qdgs_lightning.models.heads.arcface import ArcFace
from qdgs_lightning.models.heads.base import Gradient, MarginHead
from qdgs_lightning.models.heads.checks import HeadError
from qdgs_lightning.models.heads.combined_margin import CombinedMargin
from qdgs_lightning.models.heads.cosface import CosFace
from qdgs_lightning.models.heads.curricularface import CurricularFace
from qdgs_lightning.models.heads.normface import NormFace
from qdgs_lightning.models.heads.sampled import SampledHead, names_ignored_by_ddp

__all__ = [
    "AdaFace",
    "ArcFace",
    "BeyondPi",
    "CombinedMargin",
    "CosFace",
    "CurricularFace",
    "Gradient",
    "HeadError",
    "MarginHead",
    "NormFace",
    "SampledHead",
    "names_ignored_by_ddp",
]
