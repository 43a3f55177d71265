"""``qdgs avatars-edits``."""

from qdgs_lightning.domains.avatars.make_edits import avatars_edits

__all__ = ["avatars_edits"]
