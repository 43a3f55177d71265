"""The metric over batches and processes equals the function over all pairs."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from qdgs_lightning.metrics import (
    GroupVerificationAccuracy,
    GroupVerificationResult,
    VerificationError,
    group_verification,
)

NUM_PAIRS = 901
NAMES = ("a", "b", "c")


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    same = torch.rand(NUM_PAIRS, generator=random) < 0.5
    groups = torch.randint(3, (NUM_PAIRS,), generator=random)
    noise = torch.randn(NUM_PAIRS, generator=random)
    return 2 - same.float() - 0.1 * groups + 0.3 * noise, same, groups


def expected() -> GroupVerificationResult:
    return group_verification(*pairs(), names=NAMES, num_bootstrap=20, false_match_rates=(0.01,))


def metric() -> GroupVerificationAccuracy:
    return GroupVerificationAccuracy(names=NAMES, num_bootstrap=20, false_match_rates=(0.01,))


def updated(metric: GroupVerificationAccuracy, places: Tensor) -> GroupVerificationAccuracy:
    distances, same, groups = pairs()
    for batch in torch.split(places, 64):
        metric.update(distances[batch], same[batch], groups[batch], batch)
    return metric


def test_neither_batches_nor_order_nor_repeats_matter() -> None:
    assert updated(metric(), torch.arange(NUM_PAIRS)).compute() == expected()
    shuffled = torch.randperm(NUM_PAIRS, generator=torch.Generator().manual_seed(0))
    repeated = torch.cat([shuffled, shuffled[:100]])
    assert updated(metric(), repeated).compute() == expected()


def test_arguments_reach_the_function() -> None:
    sides = {"left": ["a", "b"], "right": ["c"]}
    options = GroupVerificationAccuracy(
        names=NAMES,
        merge=sides,
        protocol="exhaustive",
        num_folds=5,
        false_match_rates=(0.05,),
        num_bootstrap=7,
        seed=3,
    )
    assert updated(options, torch.arange(NUM_PAIRS)).compute() == group_verification(
        *pairs(),
        names=NAMES,
        merge=sides,
        protocol="exhaustive",
        num_folds=5,
        false_match_rates=(0.05,),
        num_bootstrap=7,
        seed=3,
    )


def test_no_pairs_and_none_any_more() -> None:
    full = updated(metric(), torch.arange(NUM_PAIRS))
    full.reset()
    with pytest.raises(VerificationError, match="no pairs of a, b, c"):
        full.compute()


def _compute_on_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    # As a distributed sampler has it: an odd number of pairs, so the first comes twice.
    padded = torch.cat([torch.arange(NUM_PAIRS), torch.zeros(1, dtype=torch.int64)])
    assert updated(metric(), padded[rank::2]).compute() == expected()
    dist.destroy_process_group()


def test_two_processes_count_every_pair_once(tmp_path: Path) -> None:
    spawn(_compute_on_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
