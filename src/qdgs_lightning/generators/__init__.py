"""Generators: latent in, image out."""

from qdgs_lightning.generators.base import Generator
from qdgs_lightning.generators.implicit import ImplicitArchitecture, ImplicitGenerator
from qdgs_lightning.generators.stylegan2 import (
    CheckpointError,
    StyleGAN2,
    StyleGAN2Generator,
    load_stylegan2,
)
from qdgs_lightning.generators.vae import VAEGenerator

__all__ = [
    "CheckpointError",
    "Generator",
    "ImplicitArchitecture",
    "ImplicitGenerator",
    "StyleGAN2",
    "StyleGAN2Generator",
    "VAEGenerator",
    "load_stylegan2",
]
