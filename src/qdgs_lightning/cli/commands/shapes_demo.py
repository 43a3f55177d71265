"""``qdgs shapes-demo``."""

from qdgs_lightning.domains.shapes.demo import shapes_demo

__all__ = ["shapes_demo"]
