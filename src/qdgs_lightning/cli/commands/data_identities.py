"""``qdgs data identities``."""

from qdgs_lightning.audits.identity_separation import data_identities

__all__ = ["data_identities"]
