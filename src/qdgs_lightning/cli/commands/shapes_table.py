"""``qdgs shapes-table``."""

from qdgs_lightning.domains.shapes.study import shapes_table

__all__ = ["shapes_table"]
