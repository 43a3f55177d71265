"""Guidance: image in, objective and measures out."""

from qdgs_lightning.guidance.base import Evaluation, Guidance

__all__ = ["Evaluation", "Guidance"]
