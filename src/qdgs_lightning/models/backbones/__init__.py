"""Backbones: face images in, embeddings out; weights of several projects."""

from qdgs_lightning.models.backbones.create import BACKBONE_NAMES, create_backbone

__all__ = ["BACKBONE_NAMES", "create_backbone"]
