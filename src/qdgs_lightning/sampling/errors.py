"""What can go wrong between a prior or an archive and the latents that a model learns from."""

from qdgs_lightning.errors import QDGSError


class SamplingError(QDGSError):
    """Nothing can be drawn as asked: settings contradict each other or bins hold too little."""
