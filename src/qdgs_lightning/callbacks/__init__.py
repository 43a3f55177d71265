"""Callbacks: what happens beside training, taken out or put in by YAML."""

from qdgs_lightning.callbacks.configured_rates import ConfiguredRates
from qdgs_lightning.callbacks.embeddings import EmbeddingWriter
from qdgs_lightning.callbacks.export import ExportWeights
from qdgs_lightning.callbacks.identity_figures import IdentityFigures
from qdgs_lightning.callbacks.qd_refresh import QDRefresh, RefreshError
from qdgs_lightning.callbacks.restart_optimizer import RestartOptimizer
from qdgs_lightning.callbacks.training_images import TrainingImages

__all__ = [
    "ConfiguredRates",
    "EmbeddingWriter",
    "ExportWeights",
    "IdentityFigures",
    "QDRefresh",
    "RefreshError",
    "RestartOptimizer",
    "TrainingImages",
]
