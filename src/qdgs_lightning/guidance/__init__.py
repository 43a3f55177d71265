"""Guidance: image in, objective and measures out."""

from qdgs_lightning.guidance.base import Evaluation, Guidance, GuidanceWrapper
from qdgs_lightning.guidance.latent_axes import LatentAxes
from qdgs_lightning.guidance.prompts import PromptGuidance, PromptPair

__all__ = [
    "Evaluation",
    "Guidance",
    "GuidanceWrapper",
    "LatentAxes",
    "PromptGuidance",
    "PromptPair",
]
