"""``qdgs avatars-table``."""

from qdgs_lightning.domains.avatars.study import avatars_table

__all__ = ["avatars_table"]
