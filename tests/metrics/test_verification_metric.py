"""The metric over batches and processes equals the function over all pairs."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from qdgs_lightning.metrics import (
    VerificationAccuracy,
    VerificationError,
    VerificationResult,
    verification_accuracy,
)
from tests.metrics.pairs import Case, embedded_pairs

CASE = Case(5, 1001, 0.3)


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    first, second, same = embedded_pairs(CASE)
    distances = torch.from_numpy(((first - second) ** 2).sum(axis=1)).float()
    return distances, torch.from_numpy(same)


def expected(**options: str) -> VerificationResult:
    return verification_accuracy(*pairs(), **options)  # type: ignore[arg-type]


def updated(metric: VerificationAccuracy, places: torch.Tensor) -> VerificationAccuracy:
    distances, same = pairs()
    for batch in torch.split(places, 64):
        metric.update(distances[batch], same[batch], batch)
    return metric


def test_neither_batches_nor_order_nor_repeats_matter() -> None:
    everything = torch.arange(CASE.pairs)
    assert updated(VerificationAccuracy(), everything).compute() == expected()
    shuffled = torch.randperm(CASE.pairs, generator=torch.Generator().manual_seed(0))
    repeated = torch.cat([shuffled, shuffled[:100]])
    assert updated(VerificationAccuracy(), repeated).compute() == expected()


def test_arguments_reach_the_function() -> None:
    metric = VerificationAccuracy(protocol="exhaustive", num_folds=5)
    found = updated(metric, torch.arange(CASE.pairs)).compute()
    assert found == verification_accuracy(*pairs(), protocol="exhaustive", num_folds=5)
    assert len(found.fold_accuracies) == 5


def test_no_pairs_and_none_any_more() -> None:
    metric = updated(VerificationAccuracy(), torch.arange(CASE.pairs))
    metric.reset()
    with pytest.raises(VerificationError):
        metric.compute()


def _compute_on_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    # As a distributed sampler has it: an odd number of pairs, so the first comes twice.
    padded = torch.cat([torch.arange(CASE.pairs), torch.zeros(1, dtype=torch.int64)])
    found = updated(VerificationAccuracy(), padded[rank::2]).compute()
    assert found == expected()
    dist.destroy_process_group()


def test_two_processes_count_every_pair_once(tmp_path: Path) -> None:
    spawn(_compute_on_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
