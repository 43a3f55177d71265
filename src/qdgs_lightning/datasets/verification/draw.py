"""Draw pairs of images for a benchmark."""

import torch
from torch import Tensor

from qdgs_lightning.utils.console import DataError

FOLDS = 10


def draw_pairs(
    labels: Tensor, n: int, generator: torch.Generator, *, kinds: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw pairs, half of them of the same identity, in ten folds one after the other.

    In each fold those of the same identity come first, as in the files of LFW, so that folds cut
    out of the list in order are balanced. A pair of the same identity is two images of an
    identity, each of which is as likely; a pair of different ones is any two images of unlike
    identities. No pair is drawn twice. Unlike in LFW an identity may occur in several folds.

    Args:
        labels: Of the images, int64, shape ``[m]``.
        n: How many pairs; a multiple of 20.
        generator: Source of all randomness.
        kinds: Of the images, int64, shape ``[m]``: images of different identities are paired
            within a kind only, so that what the kinds tell apart is of no use.

    Returns:
        Pairs of rows, int64, shape ``[n, 2]``, and whether they are of the same identity, bool,
        shape ``[n]``.

    Raises:
        DataError: n is no such multiple, or there are not so many pairs.
    """
    check_number_of_pairs(n)
    counts = torch.bincount(labels)
    same = int((counts * (counts - 1)).sum()) // 2
    kinds = torch.zeros_like(labels) if kinds is None else kinds
    of_kinds = torch.bincount(kinds)
    different = (int(of_kinds.square().sum()) - int(counts.square().sum())) // 2
    if n // 2 > min(same, different):
        raise DataError(
            f"The images make {same:,} pairs of the same identity and {different:,} of different "
            f"ones, too few for {n // 2:,} of each; ask for fewer, or bring more images."
        )
    same_pairs = draw_same(labels, n // 2, generator).reshape(FOLDS, -1, 2)
    different_pairs = draw_different(labels, kinds, n // 2, generator).reshape(FOLDS, -1, 2)
    pairs = torch.cat([same_pairs, different_pairs], dim=1)
    is_same = (torch.arange(pairs.shape[1]) < same_pairs.shape[1]).expand(FOLDS, -1)
    return pairs.flatten(0, 1), is_same.flatten()


def check_number_of_pairs(n: int) -> None:
    """Refuse numbers that make no folds.

    Raises:
        DataError: n is no positive multiple of 20.
    """
    if n < 1 or n % (2 * FOLDS):
        raise DataError(
            f"{n} pairs do not make {FOLDS} folds with as many same as different ones; give a "
            f"multiple of {2 * FOLDS}, such as 6000."
        )


def draw_same(labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw pairs of the same identity, shape ``[n, 2]``."""
    members: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        members.setdefault(label, []).append(row)
    pool = [rows for rows in members.values() if len(rows) > 1]
    drawn: dict[tuple[int, int], None] = {}
    left = [len(rows) * (len(rows) - 1) // 2 for rows in pool]
    while len(drawn) < n:
        who = int(torch.randint(len(pool), (), generator=generator))
        rows = pool[who]
        while True:
            first, second = torch.randperm(len(rows), generator=generator)[:2].tolist()
            pair = (rows[min(first, second)], rows[max(first, second)])
            if pair not in drawn:
                break
        drawn[pair] = None
        left[who] -= 1
        if left[who] == 0:  # all its pairs are drawn
            pool[who], left[who] = pool[-1], left[-1]
            pool.pop()
            left.pop()
    return torch.tensor(list(drawn))


def draw_different(labels: Tensor, kinds: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw pairs of different identities of one kind, shape ``[n, 2]``."""
    drawn: dict[tuple[int, int], None] = {}
    who, what = labels.tolist(), kinds.tolist()
    while len(drawn) < n:
        first, second = torch.randint(len(who), (2,), generator=generator).tolist()
        if who[first] != who[second] and what[first] == what[second]:
            drawn[min(first, second), max(first, second)] = None
    return torch.tensor(list(drawn))
