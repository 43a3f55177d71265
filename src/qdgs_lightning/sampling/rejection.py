"""What a user would try first against bias: keep prior samples until the labels are balanced."""

from collections.abc import Sequence

from torch import Tensor

from qdgs_lightning.sampling.base import Quality
from qdgs_lightning.sampling.bins import MeasureBins
from qdgs_lightning.sampling.pool import Candidates
from qdgs_lightning.sampling.prior import PriorSampler


class RejectionSampler(PriorSampler):
    """The same prior samples as `PriorSampler`, drawn evenly or by quotas over their joint bins.

    At equal seeds both evaluate the very same latents, so that arms differ in balance alone.

    Args:
        bins: Bins along one measure each; their indices are the labels, in this order.
        evaluations: How many prior samples are evaluated.
        quality: Tests beside the label.
        max_repeats: How often one latent may appear in one pool.
        batch_size: Rows per evaluation chunk.
        proportions: Share of the pool by the names of the bins; see `Sampler`.
        renormalise: Share quotas of empty bins out among the others.

    Raises:
        SamplingError: A number is not positive, there are no bins, or `proportions` do not fit.
    """

    def __init__(
        self,
        *,
        bins: list[MeasureBins],
        evaluations: int,
        quality: Quality | None = None,
        max_repeats: int = 8,
        batch_size: int = 64,
        proportions: dict[str, float] | None = None,
        renormalise: bool = False,
    ) -> None:
        super().__init__(
            bins=bins,
            evaluations=evaluations,
            quality=quality,
            max_repeats=max_repeats,
            batch_size=batch_size,
        )
        self.set_proportions(proportions, renormalise=renormalise)

    def strata(self, candidates: Candidates) -> Sequence[Tensor]:
        """Draw evenly over joint bins, then over latents."""
        return (candidates.bins,)
