"""Sampling: which latents a model learns from, and the labels they get."""

from qdgs_lightning.sampling.archive import ArchiveSampler
from qdgs_lightning.sampling.augmented import AugmentedGuidance
from qdgs_lightning.sampling.base import (
    Proposals,
    Quality,
    Sampler,
)
from qdgs_lightning.sampling.bins import JointBins, MeasureBins
from qdgs_lightning.sampling.errors import SamplingError
from qdgs_lightning.sampling.files import read_candidates, write_candidates
from qdgs_lightning.sampling.pool import (
    Candidates,
    Pool,
    PoolReport,
)
from qdgs_lightning.sampling.prior import PriorSampler
from qdgs_lightning.sampling.rejection import RejectionSampler

__all__ = [
    "ArchiveSampler",
    "AugmentedGuidance",
    "Candidates",
    "JointBins",
    "MeasureBins",
    "Pool",
    "PoolReport",
    "PriorSampler",
    "Proposals",
    "Quality",
    "RejectionSampler",
    "Sampler",
    "SamplingError",
    "read_candidates",
    "write_candidates",
]
