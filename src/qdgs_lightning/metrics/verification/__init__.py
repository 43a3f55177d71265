"""Face verification: accuracy, error rates of groups, and their intervals."""

from qdgs_lightning.metrics.verification.accuracy import (
    VerificationError,
    VerificationResult,
    verification_accuracy,
)
from qdgs_lightning.metrics.verification.groups import group_verification
from qdgs_lightning.metrics.verification.metric import VerificationAccuracy

__all__ = [
    "VerificationAccuracy",
    "VerificationError",
    "VerificationResult",
    "group_verification",
    "verification_accuracy",
]
