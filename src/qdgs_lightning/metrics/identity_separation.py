"""Are images of one identity closer than those of two? Verification over a set of identities."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qdgs_lightning.metrics.bootstrap import BootstrapError, Estimate
from qdgs_lightning.metrics.verification.accuracy import Roc, VerificationError, check_pairs


class IdentitySeparation(NamedTuple):
    """How well distances within identities are told from those between them, with intervals.

    Attributes:
        auc: Probability that a pair of one identity is closer than a pair of two, ties half; 0.5
            where identities mean nothing, 1 where they are apart.
        eer: Rate at which false matches and false non-matches are equally frequent.
        tar: For each false match rate the share of pairs of one identity that are accepted at the
            largest threshold that keeps it; without rates that so few pairs cannot show.
        num_same: Pairs of one identity.
        num_different: Pairs of two.
        num_people: Identities that occur in pairs.
    """

    auc: Estimate
    eer: Estimate
    tar: dict[float, Estimate]
    num_same: int
    num_different: int
    num_people: int


def identity_separation(
    distances: Tensor,
    people: Tensor,
    *,
    false_match_rates: Sequence[float] = (1e-2, 1e-3),
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> IdentitySeparation:
    """Compare distances of pairs of one identity with those of pairs of two.

    Intervals are of other people of the same kind: each replicate draws as many identities with
    replacement, and a pair counts as often as its identity was drawn, or the product for two
    identities (the vertex bootstrap of Snijders and Borgatti, 1999). Pairs of one person are not
    independent, so that intervals over pairs would be too narrow.

    Args:
        distances: Of each pair, smaller for more alike, shape ``[n]``.
        people: The identities of the two images of each pair, int64, shape ``[n, 2]``.
        false_match_rates: Where to report true acceptance.
        num_bootstrap: Replicates for the intervals; 0 for none.
        seed: Of the replicates.

    Raises:
        VerificationError: Shapes differ, a distance is not finite, or pairs are of one kind only.
        BootstrapError: There are fewer than no replicates.

    Example:
        >>> found = identity_separation(distances, labels[pairs])
        >>> f"AUC {found.auc.value:.3f} [{found.auc.low:.3f}, {found.auc.high:.3f}]"
        'AUC 0.861 [0.849, 0.872]'
    """
    if people.shape != (len(distances), 2):
        raise VerificationError(
            f"people has the shape {tuple(people.shape)} for {len(distances)} distances; give "
            "[n, 2]."
        )
    if num_bootstrap < 0:
        raise BootstrapError(
            f"num_bootstrap is {num_bootstrap}; give 0 for no intervals, or about 1,000."
        )
    distances = distances.detach().cpu().double()
    names, people = torch.unique(people.cpu(), return_inverse=True)
    same = people[:, 0] == people[:, 1]
    check_pairs(distances, same, protocol="exhaustive", num_folds=2)
    values, place = torch.unique(distances, return_inverse=True)
    rates = [rate for rate in false_match_rates if rate * int((~same).sum()) >= 1]
    generator = torch.Generator().manual_seed(seed)
    found = []
    for replicate in range(1 + num_bootstrap):
        drawn = torch.arange(len(names))
        if replicate:
            drawn = torch.randint(len(names), (len(names),), generator=generator)
        counts = drawn.bincount(minlength=len(names)).double()
        weights = torch.where(same, counts[people[:, 0]], counts[people].prod(dim=1))
        if not (weights[same].any() and weights[~same].any()):  # no pairs of one of both kinds
            found.append([torch.nan] * (2 + len(rates)))
            continue
        roc = Roc.weighted(place, same, weights, len(values))
        found.append([roc.auc(), roc.eer(), *(roc.tar(rate) for rate in rates)])
    auc, eer, *tar = (Estimate.of(column) for column in zip(*found, strict=True))
    return IdentitySeparation(
        auc=auc,
        eer=eer,
        tar=dict(zip(rates, tar, strict=True)),
        num_same=int(same.sum()),
        num_different=int((~same).sum()),
        num_people=len(names),
    )
