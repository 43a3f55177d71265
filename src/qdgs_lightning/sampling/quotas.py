"""Other shares than even ones: what users want of each group, and how all of it can be had."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor

from qdgs_lightning.errors import did_you_mean
from qdgs_lightning.sampling.errors import SamplingError

_ROUNDS = 2000
_CLOSE = 1e-3  # a pool of a thousand shows no less


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """What shares groups are to have.

    A group is a class of one attribute, such as ``dark``, or of several in their order, such as
    ``dark old``. The groups that are named along the same attributes make up all of a pool between
    them; one that is not named beside others gets nothing. Attributes that no group is named along
    are left free.

    Attributes:
        classes: Names of the classes of each attribute.
        margins: Shares along each set of attributes that groups are named along, float64, as many
            dimensions as attributes in the set, summing to 1.
    """

    classes: tuple[tuple[str, ...], ...]
    margins: dict[tuple[int, ...], Tensor]

    @classmethod
    def of(cls, proportions: Mapping[str, float], classes: Sequence[Sequence[str]]) -> "Quotas":
        """Read shares by the names of groups.

        Args:
            proportions: Share of each group, in [0, 1].
            classes: Names of the classes of each attribute.

        Raises:
            SamplingError: A group is unknown or could be two, a share is out of its range, or
                those along the same attributes do not sum to 1.

        Example:
            >>> classes = [["light", "dark"], ["young", "old"]]
            >>> Quotas.of({"dark": 0.6, "light": 0.4}, classes).margins
            {(0,): tensor([0.4000, 0.6000], dtype=torch.float64)}
        """
        places = _group_places(classes)
        margins: dict[tuple[int, ...], Tensor] = {}
        named: dict[tuple[int, ...], list[str]] = {}
        for name, share in proportions.items():
            if name not in places:
                hint = did_you_mean(name, places)
                known = ", ".join(group for group, found in places.items() if len(found[0][0]) == 1)
                raise SamplingError(
                    f"The proportions name '{name}', which is no group{hint}: name classes "
                    f"({known}), or several of different attributes in their order."
                )
            if len(places[name]) > 1:
                raise SamplingError(
                    f"The proportions name '{name}', which is a group of several attributes: give "
                    "the classes names of their own."
                )
            if not 0 <= share <= 1:
                raise SamplingError(
                    f"The proportions give '{name}' a share of {share}: give one in [0, 1]."
                )
            axes, place = places[name][0]
            shape = [len(classes[axis]) for axis in axes]
            margins.setdefault(axes, torch.zeros(shape, dtype=torch.float64))[place] = share
            named.setdefault(axes, []).append(name)
        for axes, shares in margins.items():
            if not math.isclose(float(shares.sum()), 1, abs_tol=1e-6):
                raise SamplingError(
                    f"The proportions of {', '.join(named[axes])} sum to {float(shares.sum()):g}: "
                    "they share out all of a pool, so make it 1."
                )
            shares /= shares.sum()
        if not margins:
            raise SamplingError("The proportions name no group: leave them out for even draws.")
        return cls(classes=tuple(map(tuple, classes)), margins=margins)

    def unmet(self, available: Tensor) -> tuple[str, ...]:
        """Name the groups that have a share and nothing to draw from.

        Args:
            available: Whether there is anything in each joint bin, bool, one dimension per
                attribute.
        """
        return tuple(
            " ".join(self.classes[axis][i] for axis, i in zip(axes, place, strict=True))
            for axes, shares in self.margins.items()
            for place in (shares.gt(0) & ~_over(available, axes).reshape(shares.shape))
            .nonzero()
            .tolist()
        )

    def shares(self, available: Tensor) -> Tensor:
        """Share out over joint bins, as evenly as the quotas allow (raking).

        Of all shares that keep the quotas, these have the least Kullback-Leibler divergence from
        even ones over the bins that hold anything. They are found by iterative proportional
        fitting (Deming & Stephan 1940; Csiszar 1975).

        Args:
            available: As in `unmet`. What the quotas give to groups without anything goes to the
                others along the same attributes, in proportion.

        Returns:
            Shares, float64, of the shape of `available`, summing to 1.

        Raises:
            SamplingError: The quotas contradict each other or what is available.
        """
        wanted = []
        for axes, quota in self.margins.items():
            wide = [len(names) if axis in axes else 1 for axis, names in enumerate(self.classes)]
            kept = torch.where(_over(available, axes), quota.reshape(wide), 0)
            if not kept.any():
                raise SamplingError(
                    "There is nothing to draw for any of the groups that the proportions name: "
                    "evaluate more, widen the bins, or leave the proportions out."
                )
            others = tuple(axis for axis in range(available.dim()) if axis not in axes)
            wanted.append((others, (kept / kept.sum()).numpy()))
        shares = available.double().numpy() / int(available.sum())
        for _ in range(_ROUNDS):
            off = 0.0
            for others, target in wanted:
                now = shares.sum(axis=others, keepdims=True)
                off = max(off, float(np.abs(now - target).max()))
                shares = shares * np.divide(target, now, out=np.zeros_like(now), where=now > 0)
            if off < 1e-12:
                break
        if off > _CLOSE:
            raise SamplingError(
                "The proportions cannot be had together, because they contradict each other or "
                "groups that they need are empty where they meet: evaluate more, or name fewer."
            )
        return torch.from_numpy(shares / shares.sum())


def _over(available: Tensor, axes: Sequence[int]) -> Tensor:
    """Ask whether there is anything over all other attributes; the dimensions stay."""
    for axis in range(available.dim()):
        if axis not in axes:
            available = available.any(axis, keepdim=True)
    return available


def _group_places(
    classes: Sequence[Sequence[str]],
) -> dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Find along which attributes, and at which place, every group lies."""
    places: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for size in range(1, len(classes) + 1):
        for axes in combinations(range(len(classes)), size):
            for place in product(*(range(len(classes[axis])) for axis in axes)):
                name = " ".join(classes[axis][i] for axis, i in zip(axes, place, strict=True))
                places.setdefault(name, []).append((axes, place))
    return places
