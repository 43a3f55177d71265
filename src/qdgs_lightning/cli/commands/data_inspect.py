"""``qdgs data inspect``."""

from qdgs_lightning.datasets.summary import data_inspect

__all__ = ["data_inspect"]
