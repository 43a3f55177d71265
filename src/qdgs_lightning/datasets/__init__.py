"""Datasets: files and renderers in, tensors out."""

from qdgs_lightning.datasets.record_dataset import RecordIODataset
from qdgs_lightning.datasets.recordio import RecordIOError
from qdgs_lightning.datasets.rendering import COLOURS, GROUPS, SHAPES
from qdgs_lightning.datasets.shapes import ShapesDataset

__all__ = ["COLOURS", "GROUPS", "SHAPES", "RecordIODataset", "RecordIOError", "ShapesDataset"]
