"""How often intervals of group verification hold the truth, by people and by pairs.

Run by hand, for about ten minutes on a core:

    OMP_NUM_THREADS=1 python -m benchmarks.people

It prints the table of docs/results/intervals.md. Two groups are alike. The distance of a
pair is normal, around 1 for one person and around 2 for two; a share of its variance is of the
people, whose effects a pair of two adds up. People and pairs are drawn anew in every replicate.
"""

import math
import warnings
from statistics import NormalDist, fmean

import torch
from jsonargparse import auto_cli
from torch import Tensor

from qdgs_lightning.metrics import Estimate, group_verification
from qdgs_lightning.metrics.proportions import exact_interval

NORMAL = NormalDist()
_RATE = 0.1
_SPREAD = 0.35


def drawn(
    people: int, partners: int, images: int, likeness: float, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw distances of a group, whether they are of one person, and the people.

    Args:
        people: How many there are.
        partners: With how many others each is paired, at most all.
        images: How many pairs of images of one person there are of each.
        likeness: Share of the variance of distances that is of people.
        random: Draws.
    """
    order = torch.randperm(people, generator=random)
    steps = torch.arange(1, 1 + min(partners // 2, (people - 1) // 2))
    first = order.repeat_interleave(len(steps))
    second = order[(torch.arange(people)[:, None] + steps).flatten() % people]
    alone = torch.arange(people).repeat_interleave(images)
    pairs = torch.cat([torch.stack([first, second], 1), torch.stack([alone, alone], 1)])
    pairs = pairs[torch.randperm(len(pairs), generator=random)]
    same = pairs[:, 0] == pairs[:, 1]
    effects = torch.randn(people, generator=random, dtype=torch.float64)
    noise = torch.randn(len(pairs), generator=random, dtype=torch.float64)
    of_people = torch.where(same, effects[pairs[:, 0]], effects[pairs].sum(1) / math.sqrt(2))
    distances = math.sqrt(likeness) * of_people + math.sqrt(1 - likeness) * noise
    return 2 - same.double() + _SPREAD * distances, same, pairs


def row(
    people: int, partners: int, images: int, likeness: float, replicates: int, bootstrap: int
) -> str:
    """Count how often intervals hold the truth, and compare their widths."""
    threshold = 2 + _SPREAD * NORMAL.inv_cdf(_RATE)
    truth = {
        "accuracy": NORMAL.cdf(0.5 / _SPREAD),
        "FMR": _RATE,
        "FNMR": 1 - NORMAL.cdf((threshold - 1) / _SPREAD),
        "FMR gap": 0.0,
    }
    held: dict[tuple[str, str], list[bool]] = {}
    widths: dict[tuple[str, str], list[float]] = {}
    for replicate in range(replicates):
        random = torch.Generator().manual_seed(replicate)
        one, two = (drawn(people, partners, images, likeness, random) for _ in range(2))
        distances, same, pairs = (torch.cat([a, b]) for a, b in zip(one, two, strict=True))
        groups = torch.arange(2).repeat_interleave(len(one[0]))
        pairs[groups == 1] += people
        for kind, who in (("people", pairs), ("pairs", None)):
            with warnings.catch_warnings(action="ignore"):
                found = group_verification(
                    distances,
                    same,
                    groups,
                    names=["one", "two"],
                    people=who,
                    num_folds=5,
                    false_match_rates=(_RATE,),
                    num_bootstrap=bootstrap,
                    seed=replicate,
                )
            errors = found.at_false_match_rate[_RATE]
            gap = errors.false_match["one"].value - errors.false_match["two"].value
            of_gap = errors.false_match_gap
            if gap < 0:  # which group is worse is by chance
                of_gap = Estimate(-of_gap.value, -of_gap.high, -of_gap.low)
            for name, estimate in (
                ("accuracy", found.own.accuracies["one"]),
                ("FMR", errors.false_match["one"]),
                ("FNMR", errors.false_non_match["one"]),
                ("FMR gap", of_gap),
            ):
                inside = estimate.low <= truth[name] <= estimate.high
                held.setdefault((name, kind), []).append(inside)
                widths.setdefault((name, kind), []).append(estimate.high - estimate.low)
    cells = [str(people), str(len(one[0])), f"{likeness:g}"]
    for name in truth:
        for kind in ("people", "pairs"):
            share = fmean(held[name, kind])
            low, high = exact_interval(share, replicates)
            cells.append(f"{100 * share:.0f} [{100 * low:.0f}, {100 * high:.0f}]")
        cells.append(f"{fmean(widths[name, 'people']) / fmean(widths[name, 'pairs']):.2f}")
    return f"| {' | '.join(cells)} |"


def main(replicates: int = 200, bootstrap: int = 200) -> None:
    """Print the table.

    Args:
        replicates: Benchmarks that are drawn for each row.
        bootstrap: Replicates of each interval.
    """
    names = ("accuracy", "FMR", "FNMR", "FMR gap")
    columns = [f"{name}: people | pairs | ratio" for name in names]
    print(f"| people | pairs | likeness | {' | '.join(columns)} |\n|{'---|' * 15}")
    for people, partners, images, likeness in (
        (6, 5, 10, 0.3),
        (20, 19, 10, 0.0),
        (20, 19, 10, 0.3),
        (60, 59, 20, 0.3),
        (300, 2, 1, 0.0),
        (300, 2, 1, 0.3),
        (300, 10, 5, 0.3),
    ):
        print(row(people, partners, images, likeness, replicates, bootstrap), flush=True)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
