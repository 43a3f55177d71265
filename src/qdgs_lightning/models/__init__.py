"""Models: plain modules, images in and numbers out."""

from qdgs_lightning.models.annotator import ShapeAnnotator
from qdgs_lightning.models.shape_classifier import ShapeClassifier

__all__ = ["ShapeAnnotator", "ShapeClassifier"]
