"""Shapes: triangles and squares in two colours, where colour can give the class away."""

from qdgs_lightning.domains.shapes.annotator import ShapeAnnotator
from qdgs_lightning.domains.shapes.classifier import ShapeClassifier
from qdgs_lightning.domains.shapes.datamodule import ShapesDataModule
from qdgs_lightning.domains.shapes.dataset import ShapesDataset
from qdgs_lightning.domains.shapes.judges import ShapeAnnotatorTraining, ShapesCLIPTraining
from qdgs_lightning.domains.shapes.renderer import COLOURS, GROUPS, SHAPES
from qdgs_lightning.domains.shapes.renders import AnnotatedRenders, BiasedRenders
from qdgs_lightning.domains.shapes.task import ShapeClassification

__all__ = [
    "COLOURS",
    "GROUPS",
    "SHAPES",
    "AnnotatedRenders",
    "BiasedRenders",
    "ShapeAnnotator",
    "ShapeAnnotatorTraining",
    "ShapeClassification",
    "ShapeClassifier",
    "ShapesCLIPTraining",
    "ShapesDataModule",
    "ShapesDataset",
]
