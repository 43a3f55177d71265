"""Which identity has which class, through every refresh of the latents that they are made of."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qdgs_lightning.identities.grouping import spread_within
from qdgs_lightning.identities.report import IdentityReport, IdentityTable
from qdgs_lightning.sampling.errors import SamplingError
from qdgs_lightning.sampling.pool import Candidates, in_measures
from qdgs_lightning.sampling.quotas import Quotas

Group = Callable[[Tensor, Tensor], Tensor]
"""Takes latents and their bins, and returns the identity of each as `group_by_neighbours` does."""


class IdentityRegistry:
    """Identities and their classes, out of a number that is fixed in advance.

    Each identity gets the next class that no other has had, and no class is ever used again. One
    whose latents are all candidates still stays as it is; one of which a latent was displaced is
    retired: it keeps its class but is not in use any more. When classes run out, as many of these
    as it takes stay in use.

    Rows of the table keep their places, too: new latents take those of retired ones.

    Args:
        slots: How many classes there are.
        bin_names: Name of every coarse bin.

    Attributes:
        origin: What the user of the registry notes about the candidates of the last update.
        updates: How many there were.
    """

    def __init__(self, *, slots: int, bin_names: tuple[str, ...]) -> None:
        self.slots = slots
        self.bin_names = bin_names
        self.origin = ""
        self.updates = 0
        # Every identity there has been: its bin; of their latents, the class.
        self._bins = torch.empty(0, dtype=torch.int64)
        self._latents = torch.empty(0)
        self._classes = torch.empty(0, dtype=torch.int64)
        # Which latents are in use, in the order of the table.
        self._rows = torch.empty(0, dtype=torch.int64)

    @property
    def rows(self) -> Tensor:
        """Number of each latent of the table, int64, shape ``[n]``; it never means another one."""
        return self._rows

    def table(self) -> IdentityTable:
        """Return the identities in use."""
        classes = self._classes[self._rows]
        return IdentityTable(
            latents=self._latents[self._rows],
            classes=classes,
            bins=self._bins[classes],
            bin_names=self.bin_names,
        )

    def update(
        self,
        candidates: Candidates,
        *,
        group: Group,
        identities: int,
        shares: Tensor | None,
        random: torch.Generator,
        quotas: Quotas | None = None,
    ) -> IdentityReport:
        """Retire identities, and make new ones of latents that are free.

        Args:
            candidates: All latents that may be used.
            group: Makes identities of those that are free.
            identities: How many are wanted in all; fewer if latents do not suffice.
            shares: How they are shared out over bins, not negative, shape ``[bins]``; None as the
                candidates are. What a bin cannot fill goes to others.
            random: Chooses among new identities of a bin where there are more than wanted.
            quotas: What `shares` come from, if their groups must not fall short for want of latents
                by more than one identity. Identities that stay from earlier may keep others out.

        Returns:
            What has been done.

        Raises:
            SamplingError: Latents do not suffice for `quotas`; nothing has changed.
        """
        rows_of = {key: row for row, key in enumerate(_keys(candidates.latents))}
        used = self._classes[self._rows]
        found = torch.tensor(
            [rows_of.get(key, -1) for key in _keys(self._latents[self._rows])], dtype=torch.int64
        )
        whole = torch.ones(len(self._bins), dtype=torch.bool)
        whole[used[found < 0]] = False
        current = torch.unique(used)
        kept, displaced = current[whole[current]], current[~whole[current]]

        wanted, vacant = max(0, identities - len(kept)), self.slots - len(self._bins)
        available = candidates.bins.bincount(minlength=len(self.bin_names))
        weights = (available if shares is None else shares).double()
        held = self._hold(kept, displaced, number=max(0, wanted - vacant), weights=weights)
        in_use = torch.zeros(len(self._bins), dtype=torch.bool)
        in_use[kept] = in_use[held] = True

        free = torch.zeros(len(candidates), dtype=torch.bool)
        free[torch.tensor([*rows_of.values()], dtype=torch.int64)] = True  # one of equal ones
        free[found[in_use[used] & (found >= 0)]] = False
        free_rows = free.nonzero().flatten()
        groups = group(candidates.latents[free_rows], candidates.bins[free_rows])
        homes = torch.zeros(int(groups.max()) + 1 if len(groups) else 0, dtype=torch.int64)
        homes[groups[groups >= 0]] = candidates.bins[free_rows][groups >= 0]
        start = self._count(in_use.nonzero().flatten())
        if quotas is not None:
            room = start + homes.bincount(minlength=len(start))
            _check_quotas(quotas, identities, room, weights, candidates)
        groups = self._choose(
            groups,
            homes,
            start=start,
            number=min(wanted - len(held), vacant),
            weights=weights,
            random=random,
        )
        self._replace(in_use, candidates, free_rows, groups)
        self.updates += 1
        return self._report(
            candidates,
            wanted=identities,
            retired=len(displaced) - len(held),
            held_over=len(held),
            new=len(self._bins) - len(in_use),
            left_out=int((groups == -1).sum()),
            shares=None if shares is None else tuple((weights / weights.sum()).tolist()),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything, in tensors and JSON types."""
        return {
            "slots": self.slots,
            "bin_names": list(self.bin_names),
            "origin": self.origin,
            "updates": self.updates,
            "bins": self._bins,
            "latents": self._latents,
            "classes": self._classes,
            "rows": self._rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what `state_dict` was called on.

        Raises:
            SamplingError: That had other bins or another number of classes.
        """
        if state["slots"] != self.slots:
            raise SamplingError(
                f"The checkpoint has {state['slots']} classes for identities, and `slots` is "
                f"{self.slots}: set `data.init_args.slots: {state['slots']}`."
            )
        if tuple(state["bin_names"]) != self.bin_names:
            raise SamplingError(
                "The checkpoint's identities lie in other bins, "
                f"{', '.join(state['bin_names'])}: give the sampler these, or begin anew."
            )
        self.origin, self.updates = state["origin"], state["updates"]
        self._bins, self._latents = state["bins"], state["latents"]
        self._classes, self._rows = state["classes"], state["rows"]

    def _count(self, classes: Tensor) -> Tensor:
        """Count identities in every bin."""
        return self._bins[classes].bincount(minlength=len(self.bin_names))

    def _hold(self, kept: Tensor, displaced: Tensor, *, number: int, weights: Tensor) -> Tensor:
        """Choose displaced identities that stay in use, those of the lowest classes first."""
        start, capacity = self._count(kept), self._count(displaced)
        # A bin that has lost every candidate may hold on to what it has.
        stay = share_out(number, start, capacity, weights.clamp(min=1e-9))
        bins = self._bins[displaced]
        chosen = [displaced[bins == b][: int(n)] for b, n in enumerate(stay)]
        return torch.cat(chosen).sort().values

    def _choose(
        self,
        groups: Tensor,
        homes: Tensor,
        *,
        start: Tensor,
        number: int,
        weights: Tensor,
        random: torch.Generator,
    ) -> Tensor:
        """Leave a number of groups, counted from 0, and make the others -2."""
        total = len(homes)
        capacity = homes.bincount(minlength=len(start))
        each = share_out(number, start, torch.where(weights > 0, capacity, 0), weights)
        order = torch.randperm(total, generator=random)
        chosen = torch.zeros(total, dtype=torch.bool)
        for b, n in enumerate(each.tolist()):
            chosen[order[homes[order] == b][:n]] = True
        names = torch.where(chosen, chosen.cumsum(0) - 1, -2)
        return torch.where(groups < 0, -1, names[groups]) if total else groups

    def _replace(
        self, in_use: Tensor, candidates: Candidates, free: Tensor, groups: Tensor
    ) -> None:
        """Give classes to new identities, and their latents the places of retired ones."""
        members = groups.argsort(stable=True)[(groups < 0).sum() :]
        first, known = len(self._bins), len(self._classes)
        classes = groups[members]
        bins = torch.zeros(int(classes.max()) + 1 if len(classes) else 0, dtype=torch.int64)
        bins[classes] = candidates.bins[free[members]]
        latents = candidates.latents[free[members]]
        self._latents = torch.cat([self._latents, latents]) if known else latents
        self._bins = torch.cat([self._bins, bins])
        stays = in_use[self._classes[self._rows]]
        self._classes = torch.cat([self._classes, first + classes])
        new = known + torch.arange(len(members))
        rows = torch.cat([self._rows, new])
        stays = torch.cat([stays, torch.ones(len(new), dtype=torch.bool)])
        # What lies beyond the end fills the gaps.
        number = int(stays.sum())
        rows[:number][~stays[:number]] = rows[number:][stays[number:]]
        self._rows = rows[:number]

    def _report(
        self,
        candidates: Candidates,
        *,
        wanted: int,
        new: int,
        retired: int,
        held_over: int,
        left_out: int,
        shares: tuple[float, ...] | None,
    ) -> IdentityReport:
        """Sum up an update."""
        table = self.table()
        classes, sizes = torch.unique(table.classes, return_counts=True)
        return IdentityReport(
            bin_names=self.bin_names,
            available=tuple(candidates.bins.bincount(minlength=len(self.bin_names)).tolist()),
            identities=tuple(self._count(classes).tolist()),
            wanted=wanted,
            new=new,
            retired=retired,
            held_over=held_over,
            free_slots=self.slots - len(self._bins),
            left_out=left_out,
            evaluated=candidates.evaluated,
            dropped=candidates.dropped,
            smallest=int(sizes.min()) if len(sizes) else 0,
            largest=int(sizes.max()) if len(sizes) else 0,
            spread=spread_within(table.latents, table.classes),
            shares=shares,
            prompts=candidates.prompts,
        )


def share_out(number: int, start: Tensor, capacity: Tensor, weights: Tensor) -> Tensor:
    """Share a number out over places so that what they have in the end is in proportion to weights.

    One after the other goes to the place that has least for its weight, of those with room; the
    first of equals.

    Args:
        number: How many; fewer if there is no more room.
        start: What places have already, int64, shape ``[g]``.
        capacity: Most that each takes in addition, int64, shape ``[g]``.
        weights: Shape ``[g]``; positive wherever there is room.

    Returns:
        What each place gets, int64, shape ``[g]``.
    """
    got = torch.zeros_like(capacity)
    for _ in range(min(number, int(capacity.sum()))):
        filled = (start + got + 1) / weights
        got[torch.where(got < capacity, filled, torch.inf).argmin()] += 1
    return got


def _check_quotas(
    quotas: Quotas, number: int, room: Tensor, weights: Tensor, candidates: Candidates
) -> None:
    """Make sure that latents suffice for what groups are to have, whatever is in use already.

    It reckons in fractions, so that nothing is missing for being rounded.

    Args:
        quotas: Say which groups there are.
        number: How many identities are wanted.
        room: How many each bin can have, int64, shape ``[bins]``.
        weights: How they are to be shared out, shape ``[bins]``.
        candidates: What they are made of.

    Raises:
        SamplingError: A group has more than one too few.
    """
    room = torch.where(weights > 0, room, 0).double()
    number = min(number, int(room.sum()))
    wanted = number * weights / weights.sum()
    can, full = wanted, torch.zeros(len(room), dtype=torch.bool)
    while (can > room).any():
        full |= can > room
        rest = (number - room[full].sum()) / weights[~full].sum() * weights
        can = torch.where(full, room, rest)
    shape, lacking = [len(names) for names in quotas.classes], []
    for axes in quotas.margins:
        others = [axis for axis in range(len(shape)) if axis not in axes]
        sums = [each.reshape(shape) for each in (wanted, can)]
        asked, made = [each.sum(others) if others else each for each in sums]
        for place in (asked - made > 1).nonzero().tolist():
            names = [quotas.classes[axis][i] for axis, i in zip(axes, place, strict=True)]
            counts = [round(float(each[tuple(place)])) for each in (asked, made)]
            lacking.append(f"{counts[0]} of {' '.join(names)} ({counts[1]} can be made)")
    if lacking:
        pairs = zip(candidates.bin_names, (room < wanted).tolist(), strict=True)
        few = ", ".join(name for name, is_few in pairs if is_few)
        raise SamplingError(
            f"The proportions ask for {number} identities with {' and '.join(lacking)}, as there "
            f"are too few latents of {few}{in_measures(candidates.prompts)}: search longer or "
            "evaluate more, lower `data.init_args.identities`, change the proportions, or set "
            "`renormalise: true`."
        )


def _keys(latents: Tensor) -> list[bytes]:
    """Name every latent by its bits."""
    if not len(latents):
        return []
    rows = latents.flatten(1).contiguous().numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
