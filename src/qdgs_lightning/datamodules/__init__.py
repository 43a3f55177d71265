"""Datamodules: what a model learns from, one per domain."""

from qdgs_lightning.datamodules.renders import AnnotatedRenders, BiasedRenders
from qdgs_lightning.datamodules.shapes import ShapesDataModule
from qdgs_lightning.datamodules.synthetic import (
    DataModuleError,
    LatentBatch,
    PoolDataset,
    SyntheticDataModule,
)

__all__ = [
    "AnnotatedRenders",
    "BiasedRenders",
    "DataModuleError",
    "LatentBatch",
    "PoolDataset",
    "ShapesDataModule",
    "SyntheticDataModule",
]
