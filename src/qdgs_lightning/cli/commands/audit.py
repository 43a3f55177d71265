"""``qdgs audit``."""

from qdgs_lightning.audits.run import audit

__all__ = ["audit"]
