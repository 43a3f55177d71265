"""Even and weighted draws, against their definitions."""

from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.sampling.balance import draw_evenly, spread

CAPACITIES = st.lists(st.integers(0, 12), min_size=1, max_size=12)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 80), CAPACITIES, st.integers(0, 5))
def test_spread_is_even_where_there_is_room(n: int, capacity: list[int], seed: int) -> None:
    counts = spread(n, torch.tensor(capacity), _generator(seed)).tolist()
    assert sum(counts) == min(n, sum(capacity))
    assert all(0 <= count <= most for count, most in zip(counts, capacity, strict=True))
    with_room = [count for count, most in zip(counts, capacity, strict=True) if count < most]
    if with_room:
        assert max(counts) - min(with_room) <= 1


def test_spread_gives_the_remainder_to_everybody_in_turn() -> None:
    received = sum(spread(1, torch.full((4,), 5), _generator(seed)) for seed in range(400))
    assert min(torch.as_tensor(received).tolist()) > 60  # 100 on average, 8.7 standard deviation


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=40),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_draws_are_even_over_bins_then_over_cells(
    rows: list[tuple[int, int]], n: int, cap: int, seed: int
) -> None:
    bins = torch.tensor([row[0] for row in rows])
    cells = torch.tensor([10 * row[0] + row[1] for row in rows])
    counts = draw_evenly(
        [bins, cells], n=n, size=len(rows), max_repeats=cap, generator=_generator(seed)
    )
    assert int(counts.sum()) == min(n, cap * len(rows))
    assert int(counts.max()) <= cap

    def assert_even(groups: torch.Tensor, within: torch.Tensor) -> None:
        names = sorted(set(groups[within].tolist()))
        drawn = {name: int(counts[within & (groups == name)].sum()) for name in names}
        room = [drawn[name] for name in names if drawn[name] < cap * int((groups == name).sum())]
        assert not room or max(drawn.values()) - min(room) <= 1

    assert_even(bins, torch.ones(len(rows), dtype=torch.bool))
    for joint in set(bins.tolist()):
        assert_even(cells, bins == joint)


def test_without_strata_every_row_comes_once_before_any_comes_twice() -> None:
    counts = draw_evenly([], n=13, size=10, max_repeats=5, generator=_generator(0))
    assert sorted(counts.tolist()) == [1] * 7 + [2] * 3


def test_even_draws_are_those_of_every_release() -> None:
    """Runs that are repeated with a newer release must draw the same; recorded before weights."""
    assert spread(17, torch.tensor([3, 9, 1, 0, 8]), _generator(3)).tolist() == [3, 7, 1, 0, 6]
    random = _generator(11)
    bins = torch.randint(0, 5, (40,), generator=random)
    cells = 10 * bins + torch.randint(0, 4, (40,), generator=random)
    counts = draw_evenly([bins, cells], n=71, size=40, max_repeats=4, generator=_generator(5))
    recorded = "2202121121104231113413142121111312412312"
    assert counts.tolist() == [int(digit) for digit in recorded]
    counts = draw_evenly([], n=13, size=10, max_repeats=5, generator=_generator(0))
    assert counts.tolist() == [1, 2, 1, 1, 2, 1, 1, 2, 1, 1]


def _exact(n: int, capacity: list[int], weights: list[int]) -> list[Fraction]:
    """What each place gets where draws can be divided, in rational numbers."""
    free = [i for i, weight in enumerate(weights) if weight and capacity[i]]
    shares, left = [Fraction(0)] * len(weights), Fraction(min(n, sum(capacity[i] for i in free)))
    while free:
        fair = {i: left * weights[i] / sum(weights[j] for j in free) for i in free}
        full = [i for i in free if fair[i] > capacity[i]]
        for i in full or free:
            shares[i] = Fraction(capacity[i]) if full else fair[i]
        left -= sum(shares[i] for i in full)
        free = [i for i in free if i not in full] if full else []
    return shares


@given(
    st.integers(0, 200),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=8),
    st.integers(0, 5),
)
def test_weighted_draws_go_to_the_largest_remainders(
    n: int, places: list[tuple[int, int]], seed: int
) -> None:
    capacity, weights = [place[0] for place in places], [place[1] for place in places]
    exact = _exact(n, capacity, weights)
    counts = spread(
        n,
        torch.tensor(capacity),
        _generator(seed),
        weights=torch.tensor(weights, dtype=torch.float64) / 7,
    ).tolist()
    assert sum(counts) == sum(exact)
    assert all(count <= most for count, most in zip(counts, capacity, strict=True))
    assert all(abs(count - share) < 1 for count, share in zip(counts, exact, strict=True))
    remainders = [share % 1 for share in exact]
    up = [r for r, c, s in zip(remainders, counts, exact, strict=True) if c > s]
    down = [r for r, c, s in zip(remainders, counts, exact, strict=True) if c < s]
    assert not up or not down or min(up) >= max(down)


def test_equal_weights_give_the_remainder_to_everybody_in_turn() -> None:
    weights = torch.full((3,), 0.1, dtype=torch.float64)
    received = sum(
        spread(4, torch.full((3,), 9), _generator(seed), weights=weights) for seed in range(300)
    )
    assert min(torch.as_tensor(received).tolist()) > 370  # 400 on average, 8.2 standard deviation


def test_weights_belong_to_the_numbers_of_strata() -> None:
    bins = torch.tensor([3, 0, 3, 0])
    weights = torch.tensor([0.25, 9, 9, 0.75], dtype=torch.float64)
    counts = draw_evenly(
        [bins], n=8, size=4, max_repeats=9, generator=_generator(0), weights=weights
    )
    assert counts.tolist() == [3, 1, 3, 1]
