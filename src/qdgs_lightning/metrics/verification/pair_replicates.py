"""How often replicates of a benchmark have each of its pairs, if pairs or people are drawn anew."""

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from qdgs_lightning.metrics.bootstrap import Estimate, stratified_draws

T = TypeVar("T")


def times_of_pairs(
    strata: Tensor, *, num_replicates: int, seed: int, batch_size: int
) -> Iterator[Tensor]:
    """Draw pairs with replacement, each from its own stratum, as `stratified_draws` does.

    Yields:
        How often each pair is drawn, float32, shape ``[r, n]``; once each in the first.
    """
    for draws in stratified_draws(
        strata, num_replicates=num_replicates, seed=seed, batch_size=batch_size
    ):
        yield _times(draws)


def times_of_people(
    people: Tensor, groups: Tensor, *, num_replicates: int, seed: int, batch_size: int
) -> Iterator[Tensor]:
    """Draw the people of each group with replacement, and with them their pairs.

    A pair of one person comes as often as this person is drawn, and one of two people as often as
    the one is drawn times the other: the bootstrap of vertices (Snijders and Borgatti, Connections
    22, 1999), which is right for pairs of many others of both (Davezies, D'Haultfoeuille and
    Guyonvarch, Annals of Statistics 49, 2021). Of pairs that share no person it makes a variance
    three times too large; see `without_excess`.

    Args:
        people: The two people of each pair, int64, shape ``[n, 2]``.
        groups: The group of each pair, int64, shape ``[n]``; a person of several is drawn as often
            in all of them.
        num_replicates: How many, besides the sample itself.
        seed: Of the draws.
        batch_size: How many replicates to give at once.

    Yields:
        How often each pair comes, float32, shape ``[r, n]``; once each in the first.
    """
    names, places = torch.unique(people, return_inverse=True)
    home = torch.full((len(names),), int(groups.max()) + 1)
    home = home.scatter_reduce(0, places.flatten(), groups.repeat_interleave(2), reduce="amin")
    strata, order = home.sort(stable=True)
    first, second = order.argsort()[places].unbind(1)
    for draws in stratified_draws(
        strata, num_replicates=num_replicates, seed=seed, batch_size=batch_size
    ):
        times = _times(draws)
        one, other = times[:, first], times[:, second]
        yield torch.where(first == second, one, one * other)


def without_excess(people: T, different: T, *, least: T) -> T:
    """Take from intervals by people the variance that is counted more than once.

    How often a pair of two people comes is a product of two numbers, of variance 3; two such pairs
    with one person in common have the covariance 1, as they should. So the variance of a number is
    too large by twice what pairs of two people, drawn one by one, would give. It is that of Aronow,
    Samii and Assenova (Political Analysis 23, 2015), which knows of pairs that share a person
    alone, but for the thresholds, which are drawn, too. It is taken away at either end, whose
    distance from the value stands for the deviation.

    Args:
        people: Numbers with intervals by people, in named tuples and dicts.
        different: The same with intervals by pairs of two people, where others are not drawn.
        least: The same with intervals that are to be held at least, by pairs.
    """
    combined: T = _combined(people, different, least)
    return combined


def _combined(people: Any, different: Any, least: Any) -> Any:  # noqa: ANN401 (a tree of several types)
    """Go through a tree of estimates; what is no estimate is the same in all."""
    match people:
        case Estimate():
            ends = zip(people[1:], different[1:], least[1:], strict=True)
            return Estimate(people.value, *(_end(people.value, *end) for end in ends))
        case dict():
            return {key: _combined(people[key], different[key], least[key]) for key in people}
        case tuple():
            return type(people)(*map(_combined, people, different, least))
        case _:
            return people


def _end(value: float, people: float, different: float, least: float) -> float:
    """Return an end of an interval, on the side of that of people."""
    if not all(map(math.isfinite, (value, people, different, least))):
        return people
    deviation = math.sqrt(max(0.0, (people - value) ** 2 - 2 * (different - value) ** 2))
    deviation = max(deviation, abs(least - value))
    return value + math.copysign(deviation, least - value if people == value else people - value)


def _times(draws: Tensor) -> Tensor:
    """Count how often each member, ``[r, n]``, is drawn."""
    return torch.zeros(draws.shape).scatter_add_(1, draws, torch.ones(draws.shape))
