"""``qdgs export``."""

from qdgs_lightning.export.run import export

__all__ = ["export"]
