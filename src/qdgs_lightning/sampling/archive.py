"""Quality-diversity sampling: evenly over coarse bins, then over the cells that a search filled."""

from collections.abc import Sequence

import torch
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.sampling.base import Proposals, Sampler
from qdgs_lightning.sampling.errors import SamplingError
from qdgs_lightning.sampling.pool import Candidates
from qdgs_lightning.search.archive import Archive


class ArchiveSampler(Sampler):
    """Elites of an archive: a coarse joint bin first, then a cell of it, then an elite.

    Every elite is evaluated again before use, and dropped if it left the bin it was filed under.
    """

    needs_archive = True

    def propose(
        self, generator: Generator, *, archive: Archive | None, random: torch.Generator
    ) -> Proposals:
        """Take every elite of the archive that has a label.

        Raises:
            SamplingError: There is no archive, it is empty, or another generator made it.
        """
        if archive is None or len(archive.latents) == 0:
            raise SamplingError(
                "The archive sampler has no elites to draw from: add the QDRefresh callback, or "
                "name an archive file in it."
            )
        if archive.metadata.generator != generator.fingerprint():
            raise SamplingError(
                f"The archive was made with {archive.metadata.generator}, not with this generator "
                f"({generator.fingerprint()}): use its own archive."
            )
        latents = torch.as_tensor(archive.latents, dtype=torch.float32)
        filed = self.joint.index(self.joint.labels(torch.as_tensor(archive.measures)))
        inside = filed >= 0
        return Proposals(
            latents=latents[inside],
            cells=torch.as_tensor(archive.cell, dtype=torch.int64)[inside],
            bins=filed[inside],
        )

    def strata(self, candidates: Candidates) -> Sequence[Tensor]:
        """Draw evenly over joint bins, then over cells, then over elites."""
        return (candidates.bins, candidates.cells)
