"""Are two images of one person? Accuracy of verification, by the protocols that papers use."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from qdgs_lightning.errors import QDGSError

Protocol = Literal["insightface", "exhaustive", "facexzoo"]

_FACEXZOO_STEPS = 1000


class VerificationError(QDGSError):
    """Pairs that no accuracy can be computed of."""


class VerificationResult(NamedTuple):
    """How well distances tell pairs of one person from pairs of two.

    Attributes:
        protocol: How thresholds were chosen.
        accuracy: Mean over folds, in [0, 1].
        std: Standard deviation over folds, which insightface reports (divided by their number).
        standard_error: Of the mean, which FaceX-Zoo reports (from the sample's deviation).
        fold_accuracies: One for each fold.
        fold_thresholds: Squared distances below which pairs counted as one person's.
        auc: Area under the ROC curve of all pairs.
        eer: Rate at which false matches and false non-matches are equally frequent.
        tar: For each false match rate, the share of true pairs accepted at the largest threshold
            that keeps it.
        num_same: Pairs of one person.
        num_different: Pairs of two.
    """

    protocol: Protocol
    accuracy: float
    std: float
    standard_error: float
    fold_accuracies: tuple[float, ...]
    fold_thresholds: tuple[float, ...]
    auc: float
    eer: float
    tar: dict[float, float]
    num_same: int
    num_different: int


def verification_accuracy(
    distances: Tensor,
    is_same: Tensor,
    *,
    protocol: Protocol = "insightface",
    num_folds: int = 10,
    false_match_rates: Sequence[float] = (1e-2, 1e-3),
) -> VerificationResult:
    """Compute the accuracy over folds, each judged at the threshold that suits the others best.

    Folds are contiguous and follow the order of the pairs, as in ``KFold`` of scikit-learn without
    shuffling. The protocols differ in the thresholds that they try on the other folds:

    - ``insightface``: 0, .01, .. 3.99; of those with the highest accuracy the smallest. A pair is
      accepted strictly below.
    - ``exhaustive``: every distance that occurs among them, and infinity; otherwise the same.
    - ``facexzoo``: 1,000 even steps over the range of their cosines; the first with the largest
      difference of true and false match rate. A cosine that equals it is wrong for either kind.

    Args:
        distances: Squared Euclidean distances of normalised embeddings, ``2 - 2 cos``, in [0, 4],
            shape ``[n]``.
        is_same: Whether a pair is of one person, bool, shape ``[n]``.
        protocol: See above; they differ in the fourth digit or so.
        num_folds: How many folds.
        false_match_rates: Where to report true acceptance.

    Raises:
        VerificationError: Shapes differ, a distance is not finite, there is one kind of pair only,
            or there are fewer pairs than folds.

    Example:
        >>> result = verification_accuracy(distances, is_same)
        >>> f"{result.accuracy:.4f} +- {result.std:.4f}"
        '0.9943 +- 0.0041'
    """
    distances = distances.detach().cpu().double().flatten()
    same = is_same.detach().cpu().bool().flatten()
    check_pairs(distances, same, protocol=protocol, num_folds=num_folds)
    folds = contiguous_folds(len(same), num_folds)
    scale = Scale.of(distances, protocol)
    right, thresholds = scale.judge(same, folds, torch.ones(1, len(same)))
    correct = folds[right[0]].bincount(minlength=num_folds)
    accuracies = correct.double() / folds.bincount()
    roc = Roc.of(distances, same)
    return VerificationResult(
        protocol=protocol,
        accuracy=float(accuracies.mean()),
        std=float(accuracies.std(correction=0)),
        standard_error=float(accuracies.std(correction=1)) / math.sqrt(num_folds),
        fold_accuracies=tuple(accuracies.tolist()),
        fold_thresholds=tuple(thresholds[0].tolist()),
        auc=roc.auc(),
        eer=roc.eer(),
        tar={rate: roc.tar(rate) for rate in false_match_rates},
        num_same=int(same.sum()),
        num_different=int((~same).sum()),
    )


def check_pairs(
    distances: Tensor, same: Tensor, *, protocol: str, num_folds: int, whose: str = ""
) -> None:
    """Refuse pairs that have no accuracy.

    Args:
        distances: Shape ``[n]``.
        same: Shape ``[n]``.
        protocol: Its name.
        num_folds: How many folds.
        whose: What the sentence begins with where there are several sets of pairs.

    Raises:
        VerificationError: See `verification_accuracy`.
    """
    if protocol not in get_args(Protocol):
        known = ", ".join(get_args(Protocol))
        raise VerificationError(f"protocol is {protocol!r}; give one of {known}.")
    if len(distances) != len(same):
        raise VerificationError(
            f"{whose}There are {len(distances)} distances and {len(same)} labels; give one for "
            "each pair."
        )
    if bad := int((~distances.isfinite()).sum()):
        raise VerificationError(
            f"{whose}{bad} of {len(distances)} distances are not finite; the embeddings hold NaN "
            "or infinity, so look at the training run."
        )
    if same.all() or not same.any():
        raise VerificationError(
            f"{whose}All pairs are of one kind; accuracy needs pairs of one person and of two."
        )
    if num_folds < 2:
        raise VerificationError(f"num_folds is {num_folds}; give 2 or more.")
    if len(same) < num_folds:
        raise VerificationError(
            f"{whose}{len(same)} pairs cannot be cut into {num_folds} folds; bring at least as "
            "many pairs."
        )


def contiguous_folds(num_pairs: int, num_folds: int) -> Tensor:
    """Return the fold of each pair, ``[n]``; where folds differ, the first have one pair more."""
    sizes = torch.full((num_folds,), num_pairs // num_folds)
    sizes[: num_pairs % num_folds] += 1
    return torch.arange(num_folds).repeat_interleave(sizes)


@dataclass(frozen=True)
class Scale:
    """Pairs as whole numbers, by which a protocol judges many replicates of them at once.

    Attributes:
        protocol: See `verification_accuracy`.
        values: In ascending order the thresholds that the protocol may choose, or for ``facexzoo``
            the cosines that occur, shape ``[t]``.
        levels: For each pair how many thresholds refuse it, or the place of its cosine,
            shape ``[n]``.
    """

    protocol: Protocol
    values: Tensor
    levels: Tensor

    @classmethod
    def of(cls, distances: Tensor, protocol: Protocol) -> "Scale":
        """Sort distances, float64 ``[n]``, into the thresholds of a protocol."""
        if protocol == "facexzoo":
            return cls(protocol, *torch.unique(1 - distances / 2, return_inverse=True))
        grid = torch.arange(400, dtype=torch.float64) * 0.01
        if protocol == "exhaustive":
            grid = torch.cat([torch.unique(distances), grid.new_tensor([math.inf])])
        return cls(protocol, grid, torch.searchsorted(grid, distances, right=True))

    def judge(self, same: Tensor, folds: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Choose each fold's threshold on the other folds, and judge its pairs by it.

        Args:
            same: Whether a pair is of one person, shape ``[n]``.
            folds: Which fold a pair is in, from 0 without gaps, shape ``[n]``.
            times: How often each replicate has each pair, whole numbers, shape ``[r, n]``.

        Returns:
            Whether each pair is judged rightly, bool ``[r, n]``, and the thresholds as squared
            distances ``[r, k]``.
        """
        if self.protocol == "facexzoo":
            counts = self._counts(same, folds, times)
            thresholds = _with_largest_difference(counts, self.values)
            cosines, chosen = self.values[self.levels], thresholds[:, folds]
            return torch.where(same, cosines > chosen, cosines < chosen), 2 - 2 * thresholds
        counts = self._counts(same, folds, times)
        best = _most_accurate(counts, only_seen=self.protocol == "exhaustive")
        return (self.levels <= best[:, folds]) == same, self.values[best]

    def _counts(self, same: Tensor, folds: Tensor, times: Tensor) -> Tensor:
        """Count pairs of two people and of one, int64 ``[2, r, k, t + 1]``, by fold and level."""
        shape = (2, int(folds.max()) + 1, len(self.values) + 1)
        place = (same * shape[1] + folds) * shape[2] + self.levels
        counts = torch.zeros(len(times), math.prod(shape), dtype=torch.float32)
        # which counts exactly up to 2^24
        counts.index_add_(1, place, times.float())
        return counts.view(-1, *shape).transpose(0, 1).long()


def _most_accurate(counts: Tensor, *, only_seen: bool) -> Tensor:
    """Return for each fold which threshold gives most right answers on the others, ``[r, k]``.

    Args:
        counts: Of `Scale`, shape ``[2, r, k, t + 1]``.
        only_seen: Whether only distances of the other folds are candidates, and the last.
    """
    mistakes, hits = counts
    # The right answers but for a constant: true pairs accepted, less others accepted.
    right = (hits - mistakes).cumsum(2)
    of_others = (right.sum(1, keepdim=True) - right)[:, :, :-1]
    if only_seen:
        there = (hits + mistakes)[:, :, 1:]
        unseen = there.sum(1, keepdim=True) == there
        unseen[:, :, -1] = False
        of_others = of_others.masked_fill(unseen, -1)  # accepting none gives 0
    best: Tensor = of_others.argmax(dim=2)
    return best


def _with_largest_difference(counts: Tensor, cosines: Tensor) -> Tensor:
    """Return for each fold the cosine that separates the kinds best on the others, ``[r, k]``.

    Args:
        counts: Of `Scale`, shape ``[2, r, k, t + 1]``.
        cosines: Shape ``[t]``.
    """
    up_to = counts.cumsum(3)
    up_to = up_to.sum(2, keepdim=True) - up_to  # of the other folds
    total = up_to[..., -1:]
    seen, all_seen = up_to.sum(0), total.sum(0)
    low, high = cosines[(seen == 0).sum(2)], cosines[(seen < all_seen).sum(2)]
    steps = torch.arange(1, _FACEXZOO_STEPS + 1, dtype=torch.float64)
    grid = low[:, :, None] + ((high - low) / _FACEXZOO_STEPS)[:, :, None] * steps
    place = torch.searchsorted(cosines, grid, right=True) - 1
    above = total - up_to.gather(3, place.expand(2, *place.shape))
    different, same = above.double() / total.clamp(min=1)
    return grid.gather(2, (same - different).argmax(dim=2, keepdim=True))[:, :, 0]


@dataclass(frozen=True)
class Roc:
    """Rates at every threshold, from refusing all pairs to accepting all: ``[u + 1]`` each."""

    false_match: Tensor
    true_match: Tensor
    num_different: int

    @classmethod
    def of(cls, distances: Tensor, same: Tensor) -> "Roc":
        """Count pairs of both kinds, ``[n]`` each, below every distance."""
        values, place = torch.unique(distances, return_inverse=True)
        return cls.weighted(place, same, torch.ones(len(place), dtype=torch.float64), len(values))

    @classmethod
    def weighted(cls, place: Tensor, same: Tensor, weights: Tensor, num_values: int) -> "Roc":
        """Sum the weights of pairs of both kinds below every distance.

        Args:
            place: Rank of each pair's distance among the different ones, from 0, shape ``[n]``.
            same: Whether a pair is of one person, shape ``[n]``.
            weights: How often each pair counts, float64, shape ``[n]``.
            num_values: How many different distances there are.
        """
        rates = []
        for kind in (~same, same):
            sums = torch.bincount(place[kind], weights[kind], minlength=num_values).cumsum(0)
            rates.append(torch.cat([sums.new_zeros(1), sums]) / sums[-1])
        return cls(rates[0], rates[1], int((~same).sum()))

    def auc(self) -> float:
        """Return the area under the curve."""
        return float(torch.trapezoid(self.true_match, self.false_match))

    def eer(self) -> float:
        """Return where the line between two thresholds crosses that of equal rates."""
        excess = self.false_match + self.true_match - 1
        after = int((excess >= 0).nonzero()[0])
        before = max(after - 1, 0)
        span = float(excess[after] - excess[before])
        share = float(-excess[before]) / span if span else 0.0
        low, high = float(self.false_match[before]), float(self.false_match[after])
        return low + share * (high - low)

    def tar(self, rate: float) -> float:
        """Return the share of true pairs accepted where false matches keep a rate."""
        if rate * self.num_different < 1:
            warnings.warn(
                f"{self.num_different} pairs of two people cannot show a false match rate of "
                f"{rate:g}; the true acceptance given for it is that of no false match at all.",
                stacklevel=3,
            )
        return float(self.true_match[self.false_match <= rate][-1])
