"""Identities: people made of latents, their classes, their images and edits."""

from qdgs_lightning.identities.aligner import FaceAligner
from qdgs_lightning.identities.edits import FileEdits, IdentityEdits, PrincipalEdits
from qdgs_lightning.identities.grouping import (
    group_by_kmeans,
    group_by_neighbours,
    spread_within,
)
from qdgs_lightning.identities.registry import IdentityRegistry
from qdgs_lightning.identities.report import IdentityReport, IdentityTable

__all__ = [
    "FaceAligner",
    "FileEdits",
    "IdentityEdits",
    "IdentityRegistry",
    "IdentityReport",
    "IdentityTable",
    "PrincipalEdits",
    "group_by_kmeans",
    "group_by_neighbours",
    "spread_within",
]
