"""Metrics: torchmetrics that add up over batches and processes."""

from qdgs_lightning.metrics.group_accuracy import GroupAccuracy

__all__ = ["GroupAccuracy"]
