"""Accuracy of groups against numpy, in one process and in two."""

from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing.spawn import spawn

from qdgs_lightning.metrics import GroupAccuracy

NAMES = ("red triangle", "blue triangle", "red square", "blue square")
ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=60
)


def _expected(rows: list[tuple[int, int, int]]) -> dict[str, float]:
    """Accuracies by numpy."""
    predicted, true, group = np.array(rows).T
    of_group = [
        float(np.mean(predicted[group == g] == true[group == g])) if np.any(group == g) else np.nan
        for g in range(4)
    ]
    summary = [np.nanmean(of_group), np.nanmin(of_group), np.ptp([a for a in of_group if a == a])]
    names = [name.replace(" ", "_") for name in NAMES]
    return dict(zip([*names, "balanced", "worst", "gap"], [*of_group, *summary], strict=True))


def _metric(rows: list[tuple[int, int, int]]) -> GroupAccuracy:
    metric = GroupAccuracy(NAMES)
    for batch in torch.tensor(rows).chunk(5):
        metric.update(*batch.unbind(1))
    return metric


def _assert_equal(metric: GroupAccuracy, rows: list[tuple[int, int, int]]) -> None:
    values = {name: float(value) for name, value in metric.compute().items()}
    expected = _expected(rows)
    assert values.keys() == expected.keys()
    np.testing.assert_allclose(list(values.values()), list(expected.values()), rtol=1e-6)


@given(ROWS)
def test_equals_numpy(rows: list[tuple[int, int, int]]) -> None:
    _assert_equal(_metric(rows), rows)


def test_reset_forgets() -> None:
    metric = _metric([(0, 1, 0)] * 9)
    metric.reset()
    rows = [(1, 1, 3), (1, 0, 2)]
    metric.update(*torch.tensor(rows).unbind(1))
    _assert_equal(metric, rows)


def _rows(rank: int) -> list[tuple[int, int, int]]:
    """Different, and differently many, rows for each rank; group 3 is on rank 1 alone."""
    rng = np.random.default_rng(rank)
    n = 50 + 30 * rank
    columns = (rng.integers(0, 2, n), rng.integers(0, 2, n), rng.integers(0, 3 + rank, n))
    return [(int(a), int(b), int(c)) for a, b, c in zip(*columns, strict=True)]


def _compute_on_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    _assert_equal(_metric(_rows(rank)), _rows(0) + _rows(1))
    dist.destroy_process_group()


def test_two_processes_equal_numpy_over_all_rows(tmp_path: Path) -> None:
    spawn(_compute_on_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
