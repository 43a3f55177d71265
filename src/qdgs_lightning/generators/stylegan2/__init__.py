"""StyleGAN2: the network, and checkpoints read without executing anything."""

from qdgs_lightning.generators.stylegan2.generator import StyleGAN2Generator
from qdgs_lightning.generators.stylegan2.io.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_stylegan2,
    read_checkpoint,
    save_stylegan2,
)
from qdgs_lightning.generators.stylegan2.network import StyleGAN2, StyleGAN2Error

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "StyleGAN2",
    "StyleGAN2Error",
    "StyleGAN2Generator",
    "load_stylegan2",
    "read_checkpoint",
    "save_stylegan2",
]
