"""Avatars: drawn faces whose identity, skin, age and hair are known."""

from qdgs_lightning.domains.avatars.annotator import AvatarReader
from qdgs_lightning.domains.avatars.audit import AvatarAnnotator
from qdgs_lightning.domains.avatars.datamodule import AnnotatedAvatarRenders, AvatarRenders
from qdgs_lightning.domains.avatars.generator_training import StyleGAN2Regression
from qdgs_lightning.domains.avatars.judges import AvatarReaderTraining, AvatarsCLIPTraining

__all__ = [
    "AnnotatedAvatarRenders",
    "AvatarAnnotator",
    "AvatarReader",
    "AvatarReaderTraining",
    "AvatarRenders",
    "AvatarsCLIPTraining",
    "StyleGAN2Regression",
]
