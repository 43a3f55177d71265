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
    _check(distances, same, protocol=protocol, num_folds=num_folds)
    sizes = torch.full((num_folds,), len(same) // num_folds)
    sizes[: len(same) % num_folds] += 1
    folds = torch.arange(num_folds).repeat_interleave(sizes)
    if protocol == "facexzoo":
        correct, thresholds = _facexzoo(1 - distances / 2, same, sizes)
    else:
        grid = torch.arange(400, dtype=torch.float64) * 0.01
        if protocol == "exhaustive":
            grid = torch.cat(
                [torch.unique(distances), torch.tensor([math.inf], dtype=torch.float64)]
            )
        correct, thresholds = _by_accuracy(
            distances, same, folds, grid, only_seen=protocol == "exhaustive"
        )
    accuracies = correct.double() / sizes
    roc = _Roc.of(distances, same)
    return VerificationResult(
        protocol=protocol,
        accuracy=float(accuracies.mean()),
        std=float(accuracies.std(correction=0)),
        standard_error=float(accuracies.std(correction=1)) / math.sqrt(num_folds),
        fold_accuracies=tuple(accuracies.tolist()),
        fold_thresholds=tuple(thresholds.tolist()),
        auc=roc.auc(),
        eer=roc.eer(),
        tar={rate: roc.tar(rate) for rate in false_match_rates},
        num_same=int(same.sum()),
        num_different=int((~same).sum()),
    )


def _check(distances: Tensor, same: Tensor, *, protocol: str, num_folds: int) -> None:
    """Refuse what has no accuracy."""
    if protocol not in get_args(Protocol):
        known = ", ".join(get_args(Protocol))
        raise VerificationError(f"protocol is {protocol!r}; give one of {known}.")
    if len(distances) != len(same):
        raise VerificationError(
            f"There are {len(distances)} distances and {len(same)} labels; give one for each pair."
        )
    if bad := int((~distances.isfinite()).sum()):
        raise VerificationError(
            f"{bad} of {len(distances)} distances are not finite; the embeddings hold NaN or "
            "infinity, so look at the training run."
        )
    if same.all() or not same.any():
        raise VerificationError(
            "All pairs are of one kind; accuracy needs pairs of one person and of two."
        )
    if not 2 <= num_folds <= len(same):
        raise VerificationError(
            f"{len(same)} pairs cannot be cut into {num_folds} folds; give 2 folds or more, and "
            "at least as many pairs."
        )


def _by_accuracy(
    distances: Tensor, same: Tensor, folds: Tensor, grid: Tensor, *, only_seen: bool
) -> tuple[Tensor, Tensor]:
    """Return correct answers in each fold at the threshold that is best for the others.

    Args:
        distances: Shape ``[n]``.
        same: Shape ``[n]``.
        folds: Which fold a pair is in, shape ``[n]``.
        grid: Thresholds in ascending order, shape ``[t]``.
        only_seen: Whether only distances of the other folds are candidates, and the last.
    """
    num_folds, steps = int(folds[-1]) + 1, len(grid)
    # How many thresholds refuse a pair: sorted into these, all thresholds are counted at once.
    refused = torch.searchsorted(grid, distances, right=True)
    place = folds * (steps + 1) + refused
    length = num_folds * (steps + 1)
    hits = torch.bincount(place[same], minlength=length).view(num_folds, -1)
    mistakes = torch.bincount(place[~same], minlength=length).view(num_folds, -1)
    right = hits.cumsum(1) + mistakes.sum(1, keepdim=True) - mistakes.cumsum(1)
    right = right[:, :steps]
    of_others = right.sum(0) - right
    if only_seen:
        there = (hits + mistakes)[:, 1:]
        unseen = there.sum(0) - there == 0
        unseen[:, -1] = False
        of_others = of_others.masked_fill(unseen, -1)
    best = of_others.argmax(dim=1)
    return right.gather(1, best[:, None])[:, 0], grid[best]


def _facexzoo(cosines: Tensor, same: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return correct answers in each fold, and thresholds as squared distances."""
    correct, thresholds = [], []
    ends = sizes.cumsum(0)
    for start, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):
        others = torch.ones_like(same)
        others[start:end] = False
        low, high = cosines[others].min(), cosines[others].max()
        steps = torch.arange(1, _FACEXZOO_STEPS + 1, dtype=torch.float64)
        grid = low + (high - low) / _FACEXZOO_STEPS * steps
        rates = []
        for kind in (same, ~same):
            scores = cosines[others & kind].sort().values
            above = len(scores) - torch.searchsorted(scores, grid, right=True)
            rates.append(above.double() / max(len(scores), 1))
        threshold = grid[(rates[0] - rates[1]).argmax()]
        scores, kind = cosines[start:end], same[start:end]
        correct.append((scores[kind] > threshold).sum() + (scores[~kind] < threshold).sum())
        thresholds.append(2 - 2 * threshold)
    return torch.stack(correct), torch.stack(thresholds)


@dataclass(frozen=True)
class _Roc:
    """Rates at every threshold, from refusing all pairs to accepting all: ``[u + 1]`` each."""

    false_match: Tensor
    true_match: Tensor
    num_different: int

    @classmethod
    def of(cls, distances: Tensor, same: Tensor) -> "_Roc":
        values, place = torch.unique(distances, return_inverse=True)
        rates = []
        for kind in (~same, same):
            counts = torch.bincount(place[kind], minlength=len(values)).cumsum(0)
            rates.append(torch.cat([counts.new_zeros(1), counts]).double() / counts[-1])
        return cls(rates[0], rates[1], int((~same).sum()))

    def auc(self) -> float:
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
        if rate * self.num_different < 1:
            warnings.warn(
                f"{self.num_different} pairs of two people cannot show a false match rate of "
                f"{rate:g}; the true acceptance given for it is that of no false match at all.",
                stacklevel=3,
            )
        return float(self.true_match[self.false_match <= rate][-1])
