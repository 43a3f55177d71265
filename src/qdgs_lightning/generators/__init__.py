"""Generators: latent in, image out."""

from qdgs_lightning.generators.base import Generator
from qdgs_lightning.generators.implicit import ImplicitArchitecture, ImplicitGenerator
from qdgs_lightning.generators.stylegan2 import (
    CheckpointError,
    FaceAligner,
    FileEdits,
    IdentityEdits,
    PrincipalEdits,
    StyleGAN2,
    StyleGAN2Generator,
    load_stylegan2,
)
from qdgs_lightning.generators.vae import VAEGenerator

__all__ = [
    "CheckpointError",
    "FaceAligner",
    "FileEdits",
    "Generator",
    "IdentityEdits",
    "ImplicitArchitecture",
    "ImplicitGenerator",
    "PrincipalEdits",
    "StyleGAN2",
    "StyleGAN2Generator",
    "VAEGenerator",
    "load_stylegan2",
]
