"""How often intervals of an audit hold the truth, and how wide they are, by simulation.

Run by hand, for twenty minutes on a core:

    OMP_NUM_THREADS=1 python -m benchmarks.audits

It prints the tables of docs/results/intervals.md. The truth of a set is drawn anew in every
replicate, then what an annotator says of it, then which images are labelled.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jsonargparse import auto_cli
from numpy.typing import NDArray

from qdgs_lightning.audits import Annotations, Attribute, Confusion, LabelledShares, share_tables
from qdgs_lightning.metrics.bootstrap import Estimate, stratified_draws
from qdgs_lightning.metrics.proportions import exact_interval, proportion

Rates = NDArray[np.float64]
Labels = NDArray[np.int64]

# Of three classes, and what is said of them; the last word is "none".
THREE = np.array([[0.85, 0.1, 0.0, 0.05], [0.15, 0.65, 0.1, 0.1], [0.02, 0.13, 0.75, 0.1]])
SHARES = np.array([0.6, 0.3, 0.1])
_Z = 1.959964
_RATIO = "| ratio | largest |"


def _rule(columns: int) -> str:
    """Return what stands below the header of a table."""
    return f"|{'---|' * columns}"


class Tally:
    """Coverage of a number of intervals, and their widths beside those of the labels alone."""

    def __init__(self) -> None:
        self.held: list[bool] = []
        self.ratios: list[float] = []

    def add(self, found: Estimate, alone: Estimate, truth: float) -> None:
        """Count one interval."""
        self.held.append(found.low - 1e-12 <= truth <= found.high + 1e-12)
        self.ratios.append((found.high - found.low) / (alone.high - alone.low))

    def text(self) -> str:
        """Coverage in % with its own 95 % interval, mean and largest ratio of widths."""
        share = float(np.mean(self.held))
        low, high = exact_interval(share, len(self.held))
        cover = f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        return f"{cover} | {np.mean(self.ratios):.2f} | {max(self.ratios):.2f}"


def drawn(random: np.random.Generator, rates: Rates, law: Rates, n: int) -> tuple[Labels, Labels]:
    """Draw the truth of images, and what is said of them."""
    truth = random.choice(len(law), n, p=law)
    words = (random.random(n)[:, None] > rates.cumsum(axis=1)[truth]).sum(1)
    return truth, words.clip(max=rates.shape[1] - 1)


def powered(words: Labels, truth: Labels, labels: int, group: int) -> Estimate:
    """Estimate a share by PPI++ as published: one lambda, and a normal interval."""
    said, true = (words == group).astype(float), (truth[:labels] == group).astype(float)
    n, others = labels, len(words) - labels
    covariance = np.cov(said[:n], true)
    spread = said.var(ddof=1)
    weight = covariance[0, 1] / ((1 + n / others) * spread) if spread else 0.0
    weight = min(max(weight, 0.0), 1.0)
    value = weight * said[n:].mean() + (true - weight * said[:n]).mean()
    variance = weight**2 * spread / others + (true - weight * said[:n]).var(ddof=1) / n
    return Estimate(value, value - _Z * variance**0.5, value + _Z * variance**0.5)


def inverted(
    words: Labels, truth: Labels, labels: int, classes: int, seed: int
) -> tuple[Estimate, ...]:
    """Correct shares by the confusion of the labelled images alone."""
    attribute = Attribute(name="of", classes=tuple(map(str, range(classes))))
    said = torch.from_numpy(np.where(words == classes, -1, words))[:, None]
    units = torch.arange(len(words))
    known = torch.from_numpy(truth[:labels])[:, None]
    confusion = Confusion.of(known, said[:labels], units=units[:labels], attributes=[attribute])
    annotations = Annotations(
        attributes=(attribute,), labels=said, units=units, weights=torch.ones(len(words)).double()
    )
    (table,) = share_tables(annotations, confusion=confusion, num_bootstrap=200, seed=seed)
    return table.shares


def together(
    words: Labels,
    truth: Labels,
    known: NDArray[np.bool_],
    groups: int,
    units: Labels | None = None,
) -> LabelledShares:
    """Take labels and the annotator together."""
    n = len(words)
    return LabelledShares(
        torch.from_numpy(words),
        torch.from_numpy(np.where(known, truth, -1)),
        groups=groups,
        units=torch.arange(n) if units is None else torch.from_numpy(units),
        weights=torch.ones(n, dtype=torch.float64),
    )


def binary(random: np.random.Generator, replicates: int, slow: int, images: int) -> Iterator[str]:
    """Compare ways to correct the share of one of two classes."""
    yield (
        f"| share | labels | annotator right | labels alone | together {_RATIO} PPI++ {_RATIO} "
        f"confusion inverted {_RATIO}"
    )
    yield _rule(13)
    for share in (0.5, 0.1, 0.02):
        for labels in (100, 400):
            for right in (0.5, 0.9, 0.98):
                rates = np.array([[right, 1 - right], [1 - right, right]])
                ours, ppi, old, plain = Tally(), Tally(), Tally(), Tally()
                for replicate in range(replicates):
                    truth, words = drawn(random, rates, np.array([1 - share, share]), images)
                    found = together(words, truth, np.arange(images) < labels, 2)
                    alone = found.of_labels[1]
                    plain.add(alone, alone, share)
                    ours.add(found.estimates[1], alone, share)
                    ppi.add(powered(words, truth, labels, 1), alone, share)
                    if replicate < slow and 0 < truth[:labels].sum() < labels:
                        old.add(inverted(words, truth, labels, 2, replicate)[1], alone, share)
                row = [f"{100 * share:g} %", str(labels), f"{100 * right:g} %"]
                row += [plain.text().split(" |")[0], ours.text(), ppi.text(), old.text()]
                yield f"| {' | '.join(row)} |"


def several(random: np.random.Generator, replicates: int, slow: int, images: int) -> Iterator[str]:
    """Compare them for three classes and "none"; then with people of several images."""
    yield f"| class | labels | labels alone | together {_RATIO} confusion inverted {_RATIO}"
    yield _rule(9)
    for labels in (100, 400):
        tallies = [(Tally(), Tally(), Tally()) for _ in SHARES]
        for replicate in range(replicates):
            truth, words = drawn(random, THREE, SHARES, images)
            found = together(words, truth, np.arange(images) < labels, 3)
            old = inverted(words, truth, labels, 3, replicate) if replicate < slow else None
            for group, (plain, ours, inverse) in enumerate(tallies):
                alone = found.of_labels[group]
                plain.add(alone, alone, SHARES[group])
                ours.add(found.estimates[group], alone, SHARES[group])
                if old is not None:
                    inverse.add(old[group], alone, SHARES[group])
        for group, (plain, ours, inverse) in enumerate(tallies):
            row = [f"{100 * SHARES[group]:g} %", str(labels), plain.text().split(" |")[0]]
            yield f"| {' | '.join([*row, ours.text(), inverse.text()])} |"
    yield ""
    yield f"| class | labelled people of 600 | labels alone | together {_RATIO}"
    yield _rule(6)
    law = np.array([0.4, 0.3, 0.1, 0.2])
    rates = np.concatenate([THREE, [[0.1, 0.1, 0.1, 0.7]]])
    for people in (30, 100):
        pairs = [(Tally(), Tally()) for _ in range(3)]
        for _ in range(replicates):
            units = np.repeat(np.arange(600), random.integers(1, 8, 600))
            chances = random.dirichlet(law * 1.5, 600)[units]
            truth = (random.random(len(units))[:, None] > chances.cumsum(1)).sum(1).clip(max=3)
            words = (random.random(len(units))[:, None] > rates.cumsum(1)[truth]).sum(1)
            found = together(words.clip(max=3), truth, units < people, 3, units)
            for group, (plain, ours) in enumerate(pairs):
                alone = found.of_labels[group]
                plain.add(alone, alone, law[group] / 0.8)
                ours.add(found.estimates[group], alone, law[group] / 0.8)
        for group, (plain, ours) in enumerate(pairs):
            cells = [f"{125 * law[group]:g} %", str(people), plain.text().split(" |")[0]]
            yield f"| {' | '.join([*cells, ours.text()])} |"


def clustered(random: np.random.Generator, replicates: int) -> Iterator[str]:
    """Compare intervals of people of several images with percentiles of a bootstrap of people."""
    yield "| people | images each | likeness | share | Korn and Graubard | bootstrap | ratio |"
    yield _rule(7)
    for number in (5, 10, 20, 50, 200):
        for most, alike, share in ((10, 0.1, 0.5), (10, 0.5, 0.1), (50, 0.1, 0.1)):
            ours, theirs = Tally(), Tally()
            scale = 1 / alike - 1
            for replicate in range(replicates):
                chances = random.beta(share * scale, (1 - share) * scale, number)
                sizes = random.integers(1, most + 1, number)
                units = torch.from_numpy(np.repeat(np.arange(number), sizes))
                member = torch.from_numpy(random.random(len(units)) < chances[units])
                found = proportion(member, units=units, weights=torch.ones(len(units)))
                hits, of = units.bincount(member.double()), torch.from_numpy(sizes)
                (first, rest) = stratified_draws(
                    torch.zeros(number).long(), num_replicates=500, seed=replicate, batch_size=500
                )
                draws = torch.cat([first, rest])
                other = Estimate.of((hits[draws].sum(1) / of[draws].sum(1)).numpy())
                ours.add(found, found, share)
                theirs.add(other, found, share)
            cells = [str(number), f"1 to {most}", f"{alike:g}", f"{100 * share:g} %"]
            cells += [ours.text().split(" |")[0], *theirs.text().split(" | ")[:2]]
            yield f"| {' | '.join(cells)} |"


def main(
    tables: tuple[Literal["clustered", "several", "binary"], ...] = (
        "clustered",
        "several",
        "binary",
    ),
    replicates: int = 2000,
    slow: int = 200,
    images: int = 5000,
    seed: int = 0,
) -> None:
    """Print tables.

    Args:
        tables: Which, in their order.
        replicates: Sets that are drawn for each row.
        slow: Of how many of them the confusion is inverted.
        images: How many images a set has.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    ways = {
        "clustered": lambda: clustered(random, replicates),
        "several": lambda: several(random, replicates, slow, images),
        "binary": lambda: binary(random, replicates, slow, images),
    }
    for name in tables:
        for line in ways[name]():
            print(line, flush=True)
        print(flush=True)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
