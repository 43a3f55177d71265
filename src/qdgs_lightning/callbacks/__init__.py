"""Callbacks: what happens beside training, taken out or put in by YAML."""

from qdgs_lightning.callbacks.export import ExportWeights
from qdgs_lightning.callbacks.qd_refresh import QDRefresh, RefreshError
from qdgs_lightning.callbacks.restart_optimizer import RestartOptimizer

__all__ = ["ExportWeights", "QDRefresh", "RefreshError", "RestartOptimizer"]
