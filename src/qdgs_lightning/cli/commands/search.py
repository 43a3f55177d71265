"""``qdgs search``."""

from qdgs_lightning.search.run import search

__all__ = ["search"]
