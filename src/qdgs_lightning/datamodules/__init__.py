"""Datamodules: what a model learns from, one per domain."""

from qdgs_lightning.datamodules.checks import DataModuleError
from qdgs_lightning.datamodules.face_augmentation import FaceAugmentation
from qdgs_lightning.datamodules.face_benchmarks import FaceBenchmarks
from qdgs_lightning.datamodules.faces import FaceDataModule
from qdgs_lightning.datamodules.synthetic import LatentBatch, PoolDataset, SyntheticDataModule
from qdgs_lightning.datamodules.synthetic_faces import SyntheticFaceDataModule
from qdgs_lightning.domains.avatars.datamodule import AnnotatedAvatarRenders, AvatarRenders
from qdgs_lightning.domains.shapes.datamodule import ShapesDataModule
from qdgs_lightning.domains.shapes.renders import AnnotatedRenders, BiasedRenders

__all__ = [
    "AnnotatedAvatarRenders",
    "AnnotatedRenders",
    "AvatarRenders",
    "BiasedRenders",
    "DataModuleError",
    "FaceAugmentation",
    "FaceBenchmarks",
    "FaceDataModule",
    "LatentBatch",
    "PoolDataset",
    "ShapesDataModule",
    "SyntheticDataModule",
    "SyntheticFaceDataModule",
]
