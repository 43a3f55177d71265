"""Sampling: which latents a model learns from, and the labels they get."""

from qdgs_lightning.identities.grouping import (
    group_by_kmeans,
    group_by_neighbours,
    spread_within,
)
from qdgs_lightning.identities.registry import IdentityRegistry
from qdgs_lightning.identities.report import IdentityReport, IdentityTable
from qdgs_lightning.sampling.archive import ArchiveSampler
from qdgs_lightning.sampling.augmented import AugmentedGuidance
from qdgs_lightning.sampling.base import Proposals, Quality, Sampler
from qdgs_lightning.sampling.bins import JointBins, MeasureBins
from qdgs_lightning.sampling.errors import SamplingError
from qdgs_lightning.sampling.files import read_candidates, write_candidates
from qdgs_lightning.sampling.pool import Candidates, Pool, PoolReport
from qdgs_lightning.sampling.prior import PriorSampler
from qdgs_lightning.sampling.rejection import RejectionSampler

__all__ = [
    "ArchiveSampler",
    "AugmentedGuidance",
    "Candidates",
    "IdentityRegistry",
    "IdentityReport",
    "IdentityTable",
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
    "group_by_kmeans",
    "group_by_neighbours",
    "read_candidates",
    "spread_within",
    "write_candidates",
]
