"""Generators: latent in, image out."""

from qdgs_lightning.generators.base import Generator

__all__ = ["Generator"]
