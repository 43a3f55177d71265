"""Disparate impact: how much less well the worse group fares."""

import math
from collections.abc import Mapping, Sequence

from qdgs_lightning.errors import QDGSError


class DisparateImpactError(QDGSError):
    """Groups that no ratio can be computed of."""


def disparate_impact(
    accuracies: Mapping[str, float],
    *,
    merge: Mapping[str, Sequence[str]] | None = None,
    ratio: tuple[str, str] | None = None,
) -> float:
    r"""Compute the accuracy of one group divided by that of another.

    By default these are the worst and the best group, :math:`\min_g a_g / \max_g a_g`, in [0, 1];
    1 means that all are equal. US labour law takes less than four fifths, there of rates at which
    applicants are hired, as evidence of adverse impact (29 CFR 1607.4 D).

    Merged groups count equally, whatever their sizes: the accuracy of the merged group is the mean
    of theirs. Chang et al. (AAAI-24) report dark to light skin on RFW but do not say how they
    merge. Its groups have equally many pairs, so at one threshold the mean equals the accuracy of
    the joined pairs; see `group_verification` for the two kinds of thresholds.

    Args:
        accuracies: Accuracy of each group, in any unit.
        merge: Groups to make of them, by name; groups in none of these are left out.
        ratio: The group to divide and the one to divide by, in place of the worst and the best;
            such a ratio may exceed 1.

    Raises:
        DisparateImpactError: A group is unknown, a merged one is empty, an accuracy is not finite,
            there are fewer than two groups, or the accuracy to divide by is not above 0.

    Example:
        >>> accuracies = {"african": 0.87, "asian": 0.93, "caucasian": 0.95, "indian": 0.89}
        >>> round(disparate_impact(accuracies), 4)
        0.9158
        >>> sides = {"dark": ["african", "indian"], "light": ["asian", "caucasian"]}
        >>> round(disparate_impact(accuracies, merge=sides, ratio=("dark", "light")), 4)
        0.9362
    """
    if merge is not None:
        check_merge(merge, accuracies)
        accuracies = {
            name: sum(accuracies[member] for member in members) / len(members)
            for name, members in merge.items()
        }
    if len(accuracies) < 2:
        raise DisparateImpactError(
            f"Disparate impact compares groups, but there are {len(accuracies)}; give two or more."
        )
    for name, accuracy in accuracies.items():
        if not math.isfinite(accuracy):
            raise DisparateImpactError(
                f"The accuracy of group {name!r} is {accuracy}; leave the group out."
            )
    if ratio is None:
        ratio = (
            min(accuracies, key=accuracies.__getitem__),
            max(accuracies, key=accuracies.__getitem__),
        )
    check_known(ratio, accuracies)
    numerator, denominator = (accuracies[name] for name in ratio)
    if not denominator > 0:
        raise DisparateImpactError(
            f"The accuracy of group {ratio[1]!r} is {denominator:g}, so nothing can be divided by "
            "it; look at its pairs."
        )
    return numerator / denominator


def check_merge(merge: Mapping[str, Sequence[str]], names: Mapping[str, object]) -> None:
    """Refuse merged groups that are fewer than two, empty, or of unknown or repeated members.

    Raises:
        DisparateImpactError: See above.
    """
    if len(merge) < 2:
        raise DisparateImpactError(
            f"Groups are merged into {len(merge)}; give two merged groups or more to compare."
        )
    for name, members in merge.items():
        if not members or len(set(members)) < len(members):
            raise DisparateImpactError(
                f"The merged group {name!r} is of {list(members)}; give one group or more, each "
                "once."
            )
        check_known(members, names)


def check_known(asked: Sequence[str], names: Mapping[str, object]) -> None:
    """Refuse names of no group.

    Raises:
        DisparateImpactError: See above.
    """
    for name in asked:
        if name not in names:
            raise DisparateImpactError(
                f"There is no group {name!r}; the groups are {', '.join(names)}."
            )
