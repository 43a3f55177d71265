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

from qdgs_lightning.audits.annotators import AnnotationError, Attribute
from qdgs_lightning.audits.confusion import Confusion
from qdgs_lightning.audits.labelled_shares import LabelledShares
from qdgs_lightning.metrics.bootstrap import Estimate, stratified_draws
from qdgs_lightning.metrics.proportions import kish, proportion
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
        of_labels: Those shares by the images with true labels alone; None where there are none.
        labelled: How many images have true labels.
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
    of_labels: tuple[Estimate, ...] | None
    labelled: int
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
    truth: Tensor | None = None,
    targets: Quotas | None = None,
    cross: int = 3,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[ShareTable]:
    """Sum up what was said of a set.

    Intervals of shares are of 95 %: exact ones of images on their own, and of units of several
    images those of Korn and Graubard; see `proportion`. Those of other numbers are by the
    percentiles of bootstrap replicates of the units.

    The annotator's errors are corrected in one of two ways. Where true labels of some images of the
    set, drawn evenly, are given, both are taken together, see `LabelledShares`. Where counts of
    errors on other images are given, shares are those that explain best what was said, see
    `corrected`, and their intervals are by replicates of both samples; errors on different
    attributes are taken to be independent, given what the image truly shows, and no interval is
    narrower than that of an annotator without errors.

    Args:
        annotations: The set.
        confusion: Counts of the annotator's errors, on images like those of the set.
        truth: True labels of some images of the set, drawn evenly, in place of counts: int64
            ``[n, len(attributes)]``; -1 for none of the classes, -2 where it is not known.
        targets: Shares that the set was to have.
        cross: How many attributes at most are crossed.
        num_bootstrap: How many replicates.
        seed: Of the replicates.

    Returns:
        A table for each attribute, then for each pair, and so on.

    Raises:
        AnnotationError: No image has true labels of all attributes of a table.
    """
    attributes, units = annotations.attributes, annotations.units
    subsets = [
        axes
        for size in range(1, min(cross, len(attributes)) + 1)
        for axes in combinations(range(len(attributes)), size)
    ]
    levels = [len(attribute.classes) + 1 for attribute in attributes]
    number = int(units.max()) + 1
    sizes = [[levels[axis] for axis in axes] for axes in subsets]
    words = [
        _joint(annotations.labels, axes, each) for axes, each in zip(subsets, sizes, strict=True)
    ]
    labelled = [
        None if truth is None else _labelled(annotations, truth, axes, word)
        for axes, word in zip(subsets, words, strict=True)
    ]
    counts = [
        _counts(annotations, axes, word, size=int(np.prod(size)))
        if both is None
        else _counts(annotations, axes, both.cells, size=both.num_cells)
        for axes, word, size, both in zip(subsets, words, sizes, labelled, strict=True)
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
            np.concatenate(drawn[place]),
            errors=None if errors is None else [errors[axis] for axis in axes],
            labelled=labelled[place],
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
    labelled: LabelledShares | None,
    target: Tensor | None,
) -> ShareTable:
    """Sum up counts ``[1 + r, cells]``, those of the set first.

    Cells are those of the labelled shares, or else of what was said, the last level of no class.
    """
    names = [annotations.attributes[axis].classes for axis in axes]
    clear = annotations.labels[:, list(axes)].ge(0).all(1)
    known = _known(annotations, axes)
    said = _said(annotations, axes, names, clear)
    if labelled is not None:
        shares, replicates = labelled.estimates, labelled.shares(torch.from_numpy(drawn)).numpy()
    else:
        drawn = drawn.reshape(-1, *(len(classes) + 1 for classes in names))
        shares, replicates = said, _among_groups(drawn, names)
        if errors is not None:
            replicates = _corrected(drawn, errors, names)
            shares = _estimates(replicates, annotations, clear)
    entropy = -_sum_p_log(replicates, replicates)
    uniform = np.full(len(shares), 1 / len(shares))
    aim = None if target is None else target.flatten().numpy()
    return ShareTable(
        attributes=tuple(annotations.attributes[axis].name for axis in axes),
        groups=tuple(" ".join(parts) for parts in product(*names)),
        shares=shares,
        said=said if shares is not said else None,
        of_labels=None if labelled is None else labelled.of_labels,
        labelled=0 if labelled is None else int((labelled.truth >= 0).sum()),
        images=int(clear.sum()),
        unknown=int((~known).sum()),
        effective_size=_effective_size(annotations, clear),
        unclassified=proportion(
            ~clear[known], units=annotations.units[known], weights=annotations.weights[known]
        ),
        effective_groups=Estimate.of(np.exp(entropy)),
        to_uniform=_distances(replicates, uniform),
        target=None if aim is None else tuple(aim.tolist()),
        to_target=None if aim is None else _distances(replicates, aim),
    )


def _known(annotations: Annotations, axes: Sequence[int]) -> Tensor:
    """Tell of which images something was said along all of these attributes."""
    return annotations.labels[:, list(axes)].ge(-1).all(1)


def _joint(labels: Tensor, axes: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Number combinations of labels along attributes of so many levels; -1 is the last, ``[n]``."""
    parts = (labels[:, list(axes)] % torch.tensor(sizes)).numpy()
    return torch.from_numpy(np.ravel_multi_index(tuple(parts.T), sizes))


def _counts(
    annotations: Annotations, axes: Sequence[int], cells: Tensor, *, size: int
) -> csr_array:
    """Count the images of each cell and unit of which something was said, ``[size, units]``."""
    return csr_array(
        (
            (annotations.weights * _known(annotations, axes)).numpy(),
            (cells.numpy(), annotations.units.numpy()),
        ),
        shape=(size, int(annotations.units.max()) + 1),
    )


def _labelled(
    annotations: Annotations, truth: Tensor, axes: Sequence[int], words: Tensor
) -> LabelledShares:
    """Bring what was said of all images together with true labels of some.

    Raises:
        AnnotationError: There are none of all these attributes.
    """
    classes = [len(annotations.attributes[axis].classes) for axis in axes]
    of = truth[:, list(axes)]
    group = np.ravel_multi_index(tuple(of.clamp(min=0).numpy().T), classes)
    groups = int(np.prod(classes))
    joint = torch.where(of.ge(0).all(1), torch.from_numpy(group), groups)
    joint = torch.where(of.ge(-1).all(1), joint, -1)
    if not joint.ge(0).any():
        names = " and ".join(annotations.attributes[axis].name for axis in axes)
        raise AnnotationError(
            f"No image has a true label of {names}: fill these columns for some images"
            f"{', or set `cross` to 1' if len(axes) > 1 else ''}."
        )
    return LabelledShares(
        words, joint, groups=groups, units=annotations.units, weights=annotations.weights
    )


def _said(
    annotations: Annotations,
    axes: Sequence[int],
    names: Sequence[Sequence[str]],
    clear: Tensor,
) -> tuple[Estimate, ...]:
    """Estimate shares as the annotator said, among images that are of a group."""
    sizes = [len(classes) for classes in names]
    group = _joint(annotations.labels[clear], axes, sizes)
    units, weights = annotations.units[clear], annotations.weights[clear]
    return tuple(
        proportion(group == each, units=units, weights=weights)
        for each in range(int(np.prod(sizes)))
    )


def _effective_size(annotations: Annotations, chosen: Tensor) -> int:
    """How many units of equal weight the chosen images are worth."""
    return (
        round(kish(annotations.weights[chosen], annotations.units[chosen])) if (chosen.any()) else 0
    )


def _estimates(shares: Array, annotations: Annotations, chosen: Tensor) -> tuple[Estimate, ...]:
    """Estimate corrected shares of the chosen images from replicates, by column."""
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
