"""``qdgs avatars-data``."""

from qdgs_lightning.domains.avatars.make_dataset import avatars_data

__all__ = ["avatars_data"]
