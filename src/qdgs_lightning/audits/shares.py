"""Shares of groups in a set of images, how sure they are, and how far from others."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from scipy.sparse import csr_array
from torch import Tensor

from qdgs_lightning.audits.annotators import Attribute
from qdgs_lightning.audits.confusion import Confusion
from qdgs_lightning.metrics.bootstrap import Estimate, stratified_draws
from qdgs_lightning.sampling.quotas import Quotas

Array = npt.NDArray[np.float64]

_CELLS = 2_000_000  # numbers to hold at once
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What was said of the images of a set.

    Attributes:
        attributes: What is said of an image.
        labels: Int64 ``[n, len(attributes)]``; -1 where an image shows no class clearly, and -2
            where nothing was said of it.
        units: What replicates of the set are drawn from, such as identities, int64, shape ``[n]``,
            from 0 without gaps.
        weights: How often each image counts, float64, shape ``[n]``.
    """

    attributes: tuple[Attribute, ...]
    labels: Tensor
    units: Tensor
    weights: Tensor


@dataclass(frozen=True, kw_only=True)
class Distances:
    """How far shares p are from others q.

    Those of a sample are larger in the mean than that of what it is drawn from, the more so the
    smaller it is: even an even source is at some distance from even shares.

    Attributes:
        total_variation: ``sum |p - q| / 2``, in [0, 1]: the share of the images that would have to
            show another group. It is bounded and means the same for any number of groups.
        kl: ``sum p log(p / q)``, in nats: it weighs what is missing from rare groups by ratios,
            which total variation hardly sees. Unlike chi-square it stays finite where a group is
            empty, and to even shares it is the log of how many groups are lost:
            ``log(groups / effective groups)``. Infinite where q lacks a group that p has.
    """

    total_variation: Estimate
    kl: Estimate


@dataclass(frozen=True, kw_only=True)
class ShareTable:
    """Shares of the groups along one attribute, or of the intersections of several.

    Attributes:
        attributes: Names of the attributes.
        groups: Names of the groups.
        shares: Share of each group among the images that are of one, corrected for the
            annotator's errors where these are known.
        said: Those shares as the annotator said; None where nothing was corrected.
        images: How many images are of a group.
        unknown: How many images nothing was said of; they are left out of everything else.
        effective_size: As many units of equal weight are as many as those of a group (Kish).
        unclassified: Share of the known images that are of no group, as the annotator said.
        effective_groups: Number of equal groups of the same entropy, ``exp(-sum p log p)``.
        to_uniform: Distance to equal shares.
        target: Shares that were asked for, if any.
        to_target: Distance to these.
    """

    attributes: tuple[str, ...]
    groups: tuple[str, ...]
    shares: tuple[Estimate, ...]
    said: tuple[Estimate, ...] | None
    images: int
    unknown: int
    effective_size: float
    unclassified: Estimate
    effective_groups: Estimate
    to_uniform: Distances
    target: tuple[float, ...] | None
    to_target: Distances | None


def corrected(shares: Tensor, counts: Tensor) -> Tensor:
    """Estimate true shares from those that were said, by the annotator's confusion.

    Args:
        shares: Share of the images said to be of each class, shape ``[s]``.
        counts: How often images of each true class were said to be of each, shape ``[t, s]``.

    Returns:
        The non-negative shares, summing to 1, that explain best what was said, shape ``[t]``.
    """
    rates = counts.double() / counts.sum(1, keepdim=True)
    true, _ = nnls(rates.T.numpy(), shares.double().numpy())
    return torch.from_numpy(np.asarray(true) / true.sum())


def share_tables(
    annotations: Annotations,
    *,
    confusion: Confusion | None = None,
    targets: Quotas | None = None,
    cross: int = 3,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[ShareTable]:
    """Sum up what was said of a set.

    Intervals are of 95 %, by the percentiles of replicates of the units; those of shares of
    images on their own hold the exact one as well, and so does that of a group without images.
    Where errors are corrected, the sample that these are known from is drawn anew as well; those
    on different attributes are taken to be independent, given what the image truly shows. The
    exact interval is then that of an annotator without errors, the least that one can be.

    Args:
        annotations: The set.
        confusion: What is known of the annotator's errors.
        targets: Shares that the set was to have.
        cross: How many attributes at most are crossed.
        num_bootstrap: How many replicates.
        seed: Of the replicates.

    Returns:
        A table for each attribute, then for each pair, and so on.
    """
    attributes, units = annotations.attributes, annotations.units
    subsets = [
        axes
        for size in range(1, min(cross, len(attributes)) + 1)
        for axes in combinations(range(len(attributes)), size)
    ]
    levels = [len(attribute.classes) + 1 for attribute in attributes]
    labels = (annotations.labels % torch.tensor(levels)).numpy()  # -1 is the last level
    number = int(units.max()) + 1
    counts = [
        csr_array(
            (
                (annotations.weights * _known(annotations, axes)).numpy(),
                (
                    np.ravel_multi_index(labels[:, axes].T, [levels[axis] for axis in axes]),
                    units.numpy(),
                ),
            ),
            shape=(int(np.prod([levels[axis] for axis in axes])), number),
        )
        for axes in subsets
    ]
    drawn: list[list[Array]] = [[] for _ in subsets]
    for part in stratified_draws(
        torch.zeros(number, dtype=torch.int64),
        num_replicates=num_bootstrap,
        seed=seed,
        batch_size=max(1, _CELLS // number),
    ):
        times = torch.stack([row.bincount(minlength=number) for row in part]).numpy()
        for place, table in enumerate(counts):
            drawn[place].append(np.asarray(table @ times.T.astype(np.float64)).T)
    errors = None if confusion is None else confusion.replicates(num_bootstrap, seed=seed + 1)
    return [
        _table(
            annotations,
            axes,
            np.concatenate(drawn[place]).reshape(-1, *(levels[axis] for axis in axes)),
            errors=None if errors is None else [errors[axis] for axis in axes],
            target=None if targets is None else targets.margins.get(axes),
        )
        for place, axes in enumerate(subsets)
    ]


def _table(
    annotations: Annotations,
    axes: Sequence[int],
    drawn: Array,
    *,
    errors: list[Tensor] | None,
    target: Tensor | None,
) -> ShareTable:
    """Sum up counts of what was said, those of the set first; the last level is of no class."""
    names = [annotations.attributes[axis].classes for axis in axes]
    clear = annotations.labels[:, list(axes)].ge(0).all(1)
    known = _known(annotations, axes)
    said = _among_groups(drawn, names)
    shares = said if errors is None else _corrected(drawn, errors, names)
    groups = drawn[:, *(slice(-1) for _ in axes)].reshape(len(drawn), -1).sum(1)
    both = np.stack([groups, drawn.reshape(len(drawn), -1).sum(1) - groups], axis=1)
    entropy = -_sum_p_log(shares, shares)
    uniform = np.full(shares.shape[1], 1 / shares.shape[1])
    aim = None if target is None else target.flatten().numpy()
    return ShareTable(
        attributes=tuple(annotations.attributes[axis].name for axis in axes),
        groups=tuple(" ".join(parts) for parts in product(*names)),
        shares=_estimates(shares, annotations, clear),
        said=None if errors is None else _estimates(said, annotations, clear),
        images=int(clear.sum()),
        unknown=int((~known).sum()),
        effective_size=_effective_size(annotations, clear),
        unclassified=_estimates(_normalised(both), annotations, known)[1],
        effective_groups=Estimate.of(np.exp(entropy)),
        to_uniform=_distances(shares, uniform),
        target=None if aim is None else tuple(aim.tolist()),
        to_target=None if aim is None else _distances(shares, aim),
    )


def _known(annotations: Annotations, axes: Sequence[int]) -> Tensor:
    """Tell of which images something was said along all of these attributes."""
    return annotations.labels[:, list(axes)].ge(-1).all(1)


def _effective_size(annotations: Annotations, chosen: Tensor) -> int:
    """How many units of equal weight the chosen images are worth."""
    if not chosen.any():
        return 0
    per_unit = torch.zeros(int(annotations.units.max()) + 1, dtype=torch.float64)
    per_unit.index_add_(0, annotations.units, annotations.weights * chosen)
    return round(float(per_unit.sum() ** 2 / per_unit.square().sum()))


def _estimates(shares: Array, annotations: Annotations, chosen: Tensor) -> tuple[Estimate, ...]:
    """Estimate shares of the chosen images, from the set itself and its replicates, by column."""
    size = _effective_size(annotations, chosen)
    single = int(annotations.units.max()) + 1 == len(annotations.units)
    estimates = []
    for column in shares.T:
        defined = column[~np.isnan(column)]
        # Replicates of what is not there, or of nothing else, do not differ.
        alike = len(defined) > 0 and np.ptp(defined) < _ROUNDING
        estimates.append(Estimate.of(column, trials=size if single or alike else None))
    return tuple(estimates)


def _among_groups(counts: Array, names: Sequence[Sequence[str]]) -> Array:
    """Shares of the groups, without what is of none; NaN where nothing is of one."""
    return _normalised(
        counts[:, *(slice(len(classes)) for classes in names)].reshape(len(counts), -1)
    )


def _normalised(counts: Array) -> Array:
    """Divide rows by their sums; NaN where there is nothing."""
    total = counts.sum(1, keepdims=True)
    shares = np.full_like(counts, np.nan)
    np.divide(counts, total, out=shares, where=total > 0)
    return shares


def _corrected(drawn: Array, errors: list[Tensor], names: Sequence[Sequence[str]]) -> Array:
    """Correct every replicate of a set by the replicate of the errors of the same number."""
    said = torch.from_numpy(_normalised(drawn.reshape(len(drawn), -1)))
    shape = [error.shape[1] for error in errors]
    true = torch.full((len(drawn), int(np.prod(shape))), torch.nan, dtype=torch.float64)
    for row in range(len(drawn)):
        rates = reduce(torch.kron, [error[row] for error in errors])
        if not rates.isnan().any() and not said[row].isnan().any():
            true[row] = corrected(said[row], rates)
    return _among_groups(true.reshape(-1, *shape).numpy(), names)


def _sum_p_log(p: Array, q: Array) -> Array:
    """Compute ``sum p log q`` of every row; 0 log 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sums: Array = np.where(p == 0, 0, p * np.log(q)).sum(1)
    return sums


def _distances(shares: Array, others: Array) -> Distances:
    """Compare the shares of every replicate with others."""
    kl = _sum_p_log(shares, shares) - _sum_p_log(shares, others)
    return Distances(
        total_variation=Estimate.of(np.abs(shares - others).sum(1) / 2),
        kl=Estimate.of(np.maximum(kl, 0)),  # less is a rounding error
    )
