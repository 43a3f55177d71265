"""Generators: latent in, image out."""

from qdgs_lightning.generators.base import Generator
from qdgs_lightning.generators.implicit import ImplicitArchitecture, ImplicitGenerator
from qdgs_lightning.generators.vae import VAEGenerator

__all__ = ["Generator", "ImplicitArchitecture", "ImplicitGenerator", "VAEGenerator"]
