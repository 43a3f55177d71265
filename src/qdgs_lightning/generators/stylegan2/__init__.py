"""StyleGAN2: network, safe checkpoint reader, generator."""

from qdgs_lightning.generators.stylegan2.network import StyleGAN2, StyleGAN2Error

__all__ = ["StyleGAN2", "StyleGAN2Error"]
