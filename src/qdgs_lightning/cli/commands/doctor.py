"""``qdgs doctor``."""

from qdgs_lightning.doctor.run import doctor

__all__ = ["doctor"]
