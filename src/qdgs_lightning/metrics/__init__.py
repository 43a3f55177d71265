"""Metrics: torchmetrics that add up over batches and processes."""

from qdgs_lightning.metrics.bootstrap import BootstrapError, Estimate
from qdgs_lightning.metrics.disparate_impact import DisparateImpactError, disparate_impact
from qdgs_lightning.metrics.group_accuracy import GroupAccuracy
from qdgs_lightning.metrics.identity_separation import IdentitySeparation, identity_separation
from qdgs_lightning.metrics.verification.accuracy import (
    VerificationError,
    VerificationResult,
    verification_accuracy,
)
from qdgs_lightning.metrics.verification.groups import (
    GroupAccuracies,
    GroupErrors,
    GroupVerificationResult,
    group_verification,
)
from qdgs_lightning.metrics.verification.metric import VerificationAccuracy

__all__ = [
    "BootstrapError",
    "DisparateImpactError",
    "Estimate",
    "GroupAccuracies",
    "GroupAccuracy",
    "GroupErrors",
    "GroupVerificationResult",
    "IdentitySeparation",
    "VerificationAccuracy",
    "VerificationError",
    "VerificationResult",
    "disparate_impact",
    "group_verification",
    "identity_separation",
    "verification_accuracy",
]
