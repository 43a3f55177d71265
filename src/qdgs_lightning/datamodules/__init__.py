"""Datamodules: what a model learns from, one per domain."""

from qdgs_lightning.datamodules.checks import DataModuleError
from qdgs_lightning.datamodules.face_augmentation import FaceAugmentation
from qdgs_lightning.datamodules.faces import FaceDataModule
from qdgs_lightning.datamodules.renders import AnnotatedRenders, BiasedRenders
from qdgs_lightning.datamodules.shapes import ShapesDataModule
from qdgs_lightning.datamodules.synthetic import LatentBatch, PoolDataset, SyntheticDataModule

__all__ = [
    "AnnotatedRenders",
    "BiasedRenders",
    "DataModuleError",
    "FaceAugmentation",
    "FaceDataModule",
    "LatentBatch",
    "PoolDataset",
    "ShapesDataModule",
    "SyntheticDataModule",
]
