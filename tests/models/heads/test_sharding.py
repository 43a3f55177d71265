"""Which rows a process keeps, and optimizer states whose rows change."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs_lightning.models.heads import HeadError
from qdgs_lightning.models.heads.sharding import cut_rows, map_optimizer_rows, rows_of_rank


@given(st.integers(1, 60), st.integers(1, 60))
def test_rows_are_contiguous_and_evenly_spread(num_rows: int, world_size: int) -> None:
    places = [rows_of_rank(num_rows, rank, world_size) for rank in range(world_size)]
    assert [i for place in places for i in range(num_rows)[place]] == list(range(num_rows))
    # As Partial FC has it: the first ranks keep one more.
    sizes = [place.stop - place.start for place in places]
    assert sizes == [
        num_rows // world_size + (rank < num_rows % world_size) for rank in range(world_size)
    ]


def test_rows_that_are_cut_out_are_a_copy() -> None:
    """Training moves them, and the state that they were loaded from stays as it was."""
    whole = torch.ones(3, 2)
    cut_rows(whole, 3).zero_()
    assert torch.equal(whole, torch.ones(3, 2))


def test_a_matrix_of_another_size_is_refused() -> None:
    assert torch.equal(cut_rows(torch.arange(6).view(3, 2), 3), torch.arange(6).view(3, 2))
    with pytest.raises(HeadError, match="has 3 class rows and this head has 4"):
        cut_rows(torch.ones(3, 2), 4)


@pytest.mark.parametrize(
    ("make", "momenta"),
    [
        (lambda rows: torch.optim.SGD(rows, lr=0.1), set()),
        (lambda rows: torch.optim.SGD(rows, lr=0.1, momentum=0.9), {"momentum_buffer"}),
        (lambda rows: torch.optim.AdamW(rows, lr=0.1), {"exp_avg", "exp_avg_sq"}),
    ],
)
def test_only_momenta_of_one_parameter_change(
    make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer], momenta: set[str]
) -> None:
    rows = [torch.nn.Parameter(torch.ones(n, 2)) for n in (4, 5)]
    optimizer = make(rows)
    torch.autograd.backward(rows[0].sum() + rows[1].square().sum())
    optimizer.step()
    state = optimizer.state_dict()
    before = dict(state["state"].get(1, {}))
    changed = map_optimizer_rows(state, 1, lambda x: x[2:4] + 1)
    assert changed["param_groups"] == state["param_groups"]
    assert changed["state"].get(0) is state["state"].get(0)
    found = changed["state"].get(1, {})
    assert found.keys() == before.keys() >= momenta
    for name in momenta:
        assert torch.equal(found[name], before[name][2:4] + 1)
    assert all(found[name] is before[name] for name in before.keys() - momenta)
    # What was given is as it was, and a parameter that is not there changes nothing.
    assert all(state["state"][1][name] is before[name] for name in before)
    assert map_optimizer_rows(state, 7, lambda x: x[:0])["state"] == state["state"]
