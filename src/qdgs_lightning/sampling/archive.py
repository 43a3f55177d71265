"""Quality-diversity sampling: evenly over coarse bins, then over the cells that a search filled."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.sampling.base import Proposals, Quality, Sampler
from qdgs_lightning.sampling.bins import MeasureBins
from qdgs_lightning.sampling.errors import SamplingError
from qdgs_lightning.sampling.pool import Candidates
from qdgs_lightning.search.archive import Archive

EvenOver = Literal["bins", "cells"]


class ArchiveSampler(Sampler):
    """Elites of an archive: a coarse joint bin first, then a cell of it, then an elite.

    Every elite is evaluated again before use, and dropped if it left the bin it was filed under.

    Args:
        bins: Bins along one measure each; their indices are the labels, in this order.
        even_over: ``bins`` draws evenly over joint bins, then over cells; ``cells`` over cells
            alone, so that a bin has as large a part as the archive's filled cells give it.
        quality: Tests beside the label.
        max_repeats: How often one latent may appear in one pool.
        batch_size: Rows per evaluation chunk.
        proportions: Share of the pool by the names of the bins, in place of evenness over them; see
            `Sampler`.
        renormalise: Share quotas of empty bins out among the others.

    Raises:
        SamplingError: A number or name is out of its range, there are no bins, or `proportions` do
            not fit.
    """

    needs_archive = True

    def __init__(
        self,
        *,
        bins: list[MeasureBins],
        even_over: EvenOver = "bins",
        quality: Quality | None = None,
        max_repeats: int = 8,
        batch_size: int = 64,
        proportions: dict[str, float] | None = None,
        renormalise: bool = False,
    ) -> None:
        super().__init__(
            bins=bins,
            quality=quality,
            max_repeats=max_repeats,
            batch_size=batch_size,
            proportions=proportions,
            renormalise=renormalise,
        )
        if even_over not in get_args(EvenOver):
            raise SamplingError(
                f"even_over is {even_over!r}; give one of {', '.join(get_args(EvenOver))}."
            )
        self.even_over = even_over

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

    def describe_draws(self) -> dict[str, object]:
        """Say in JSON types what decides the draws from given candidates, besides randomness."""
        return {**super().describe_draws(), "even_over": self.even_over}

    def strata(self, candidates: Candidates) -> Sequence[Tensor]:
        """Draw evenly over joint bins unless told otherwise, then over cells, then over elites."""
        finer = (candidates.cells,)
        return finer if self.even_over == "cells" else (candidates.bins, *finer)
