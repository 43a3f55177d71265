"""Datamodules: what a model learns from, one per domain."""

from qdgs_lightning.datamodules.face_augmentation import FaceAugmentation
from qdgs_lightning.datamodules.face_benchmarks import FaceBenchmarks
from qdgs_lightning.datamodules.faces import FaceDataModule
from qdgs_lightning.datamodules.synthetic import (
    LatentBatch,
    PoolDataset,
    SyntheticDataModule,
)
from qdgs_lightning.datamodules.synthetic_faces import SyntheticFaceDataModule
from qdgs_lightning.datasets.checks import DataModuleError

__all__ = [
    "DataModuleError",
    "FaceAugmentation",
    "FaceBenchmarks",
    "FaceDataModule",
    "LatentBatch",
    "PoolDataset",
    "SyntheticDataModule",
    "SyntheticFaceDataModule",
]
