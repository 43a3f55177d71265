"""What a user would try first against bias: keep prior samples until the labels are balanced."""

from collections.abc import Sequence

from torch import Tensor

from qdgs_lightning.sampling.pool import Candidates
from qdgs_lightning.sampling.prior import PriorSampler


class RejectionSampler(PriorSampler):
    """The same prior samples as `PriorSampler`, drawn evenly over the joint bins of their labels.

    At equal seeds both evaluate the very same latents, so that arms differ in balance alone.
    """

    def strata(self, candidates: Candidates) -> Sequence[Tensor]:
        """Draw evenly over joint bins, then over latents."""
        return (candidates.bins,)
