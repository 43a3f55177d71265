"""Datasets: files and renderers in, tensors out."""

from qdgs_lightning.datasets.alignment import align_face
from qdgs_lightning.datasets.benchmarks import BENCHMARKS, load_benchmarks
from qdgs_lightning.datasets.image_folder import (
    FaceFolderDataset,
    FaceFolderError,
    open_face_dataset,
)
from qdgs_lightning.datasets.landmarks import AlignedFaces, read_landmarks
from qdgs_lightning.datasets.named_images import NamedImages, open_named_images
from qdgs_lightning.datasets.record_dataset import RecordIODataset
from qdgs_lightning.datasets.record_packing import pack_dataset
from qdgs_lightning.datasets.recordio import RecordIOError
from qdgs_lightning.datasets.rendering import COLOURS, GROUPS, SHAPES
from qdgs_lightning.datasets.rfw import load_rfw
from qdgs_lightning.datasets.shapes import ShapesDataset
from qdgs_lightning.datasets.verification import (
    VerificationDataError,
    VerificationPairs,
    load_verification_pairs,
)
from qdgs_lightning.datasets.verification_bin import write_verification_bin

__all__ = [
    "BENCHMARKS",
    "COLOURS",
    "GROUPS",
    "SHAPES",
    "AlignedFaces",
    "FaceFolderDataset",
    "FaceFolderError",
    "NamedImages",
    "RecordIODataset",
    "RecordIOError",
    "ShapesDataset",
    "VerificationDataError",
    "VerificationPairs",
    "align_face",
    "load_benchmarks",
    "load_rfw",
    "load_verification_pairs",
    "open_face_dataset",
    "open_named_images",
    "pack_dataset",
    "read_landmarks",
    "write_verification_bin",
]
