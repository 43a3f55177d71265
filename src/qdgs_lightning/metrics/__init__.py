"""Metrics: torchmetrics that add up over batches and processes."""

from qdgs_lightning.metrics.group_accuracy import GroupAccuracy
from qdgs_lightning.metrics.verification import (
    VerificationError,
    VerificationResult,
    verification_accuracy,
)
from qdgs_lightning.metrics.verification_metric import VerificationAccuracy

__all__ = [
    "GroupAccuracy",
    "VerificationAccuracy",
    "VerificationError",
    "VerificationResult",
    "verification_accuracy",
]
