"""Verification sets: pairs of images in ``.bin`` files, folders and RFW's layout."""

from qdgs_lightning.datasets.verification.load import load_verification_pairs
from qdgs_lightning.datasets.verification.pairs import VerificationDataError, VerificationPairs

__all__ = ["VerificationDataError", "VerificationPairs", "load_verification_pairs"]
