"""Tasks: LightningModules, one per kind of training."""

from qdgs_lightning.tasks.face_recognition import FaceRecognizer
from qdgs_lightning.tasks.face_verification import FaceRecognitionError
from qdgs_lightning.tasks.implicit import ImplicitTraining
from qdgs_lightning.tasks.vae import VAETraining

__all__ = [
    "FaceRecognitionError",
    "FaceRecognizer",
    "ImplicitTraining",
    "VAETraining",
]
