"""Even draws, against their definition."""

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
