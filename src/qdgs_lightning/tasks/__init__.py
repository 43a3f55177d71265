"""Tasks: LightningModules, one per kind of training."""

from qdgs_lightning.domains.shapes.task import ShapeClassification
from qdgs_lightning.tasks.annotator import AvatarReaderTraining, ShapeAnnotatorTraining
from qdgs_lightning.tasks.clip import AvatarsCLIPTraining, ShapesCLIPTraining
from qdgs_lightning.tasks.face_recognition import FaceRecognizer
from qdgs_lightning.tasks.face_verification import FaceRecognitionError
from qdgs_lightning.tasks.implicit import ImplicitTraining
from qdgs_lightning.tasks.stylegan2 import StyleGAN2Regression
from qdgs_lightning.tasks.vae import VAETraining

__all__ = [
    "AvatarReaderTraining",
    "AvatarsCLIPTraining",
    "FaceRecognitionError",
    "FaceRecognizer",
    "ImplicitTraining",
    "ShapeAnnotatorTraining",
    "ShapeClassification",
    "ShapesCLIPTraining",
    "StyleGAN2Regression",
    "VAETraining",
]
