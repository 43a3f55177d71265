"""Datasets: files and renderers in, tensors out."""

from qdgs_lightning.datasets.alignment import align_face
from qdgs_lightning.datasets.image_folder import (
    FaceFolderDataset,
    FaceFolderError,
    open_face_dataset,
)
from qdgs_lightning.datasets.landmarks import AlignedFaces, read_landmarks
from qdgs_lightning.datasets.records.dataset import RecordIODataset
from qdgs_lightning.datasets.records.file import RecordIOError
from qdgs_lightning.datasets.records.packing import pack_dataset
from qdgs_lightning.datasets.verification.benchmarks import BENCHMARKS, load_benchmarks
from qdgs_lightning.datasets.verification.insightface_bin import write_verification_bin
from qdgs_lightning.datasets.verification.load import (
    VerificationDataError,
    VerificationPairs,
    load_verification_pairs,
)
from qdgs_lightning.datasets.verification.named_images import NamedImages, open_named_images
from qdgs_lightning.datasets.verification.rfw import load_rfw

__all__ = [
    "BENCHMARKS",
    "AlignedFaces",
    "FaceFolderDataset",
    "FaceFolderError",
    "NamedImages",
    "RecordIODataset",
    "RecordIOError",
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
