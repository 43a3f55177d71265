"""The metric over batches and processes equals the function over all pairs."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from qdgs_lightning.metrics import (
    VerificationAccuracy,
    VerificationError,
    VerificationResult,
    verification_accuracy,
)
from tests.metrics.verification.pairs import Case, embedded_pairs

CASE = Case(5, 1001, 0.3)
IMAGES = 2 * CASE.pairs


def images() -> tuple[Tensor, Tensor, Tensor]:
    """Return embeddings of images in mixed order, the pairs' places, and whether they are same."""
    first, second, same = embedded_pairs(CASE)
    rows = torch.cat([torch.from_numpy(first), torch.from_numpy(second)]).float()
    place = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1))
    table = torch.empty_like(rows)
    table[place] = rows
    return table, place.view(2, CASE.pairs).T, torch.from_numpy(same)


def expected(**options: str) -> VerificationResult:
    first, second, same = embedded_pairs(CASE)
    distances = torch.from_numpy(first).float() - torch.from_numpy(second).float()
    return verification_accuracy(distances.square().sum(1), torch.from_numpy(same), **options)  # type: ignore[arg-type]


def metric(**options: object) -> VerificationAccuracy:
    _, pairs, same = images()
    return VerificationAccuracy(pairs, same, **options)  # type: ignore[arg-type]


def updated(metric: VerificationAccuracy, places: Tensor) -> VerificationAccuracy:
    table, _, _ = images()
    for batch in torch.split(places, 64):
        metric.update(table[batch], batch)
    return metric


def test_neither_batches_nor_order_nor_repeats_matter() -> None:
    assert updated(metric(), torch.arange(IMAGES)).compute() == expected()
    shuffled = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))
    repeated = torch.cat([shuffled, shuffled[:100]])
    assert updated(metric(), repeated).compute() == expected()


def test_distances_are_kept_in_the_order_of_the_pairs() -> None:
    found = updated(metric(), torch.arange(IMAGES))
    assert found.distances is None
    found.compute()
    first, second, _ = embedded_pairs(CASE)
    assert found.distances is not None
    torch.testing.assert_close(
        found.distances.double(),
        torch.from_numpy(((first - second) ** 2).sum(1)),
        atol=1e-6,
        rtol=0,
    )


def test_arguments_reach_the_function() -> None:
    found = updated(metric(protocol="exhaustive", num_folds=5), torch.arange(IMAGES)).compute()
    assert found == expected(protocol="exhaustive", num_folds=5)  # type: ignore[arg-type]
    assert len(found.fold_accuracies) == 5


def test_images_that_are_missing_are_counted() -> None:
    with pytest.raises(VerificationError, match="2 of 2002 images were not embedded"):
        updated(metric(), torch.arange(IMAGES - 2)).compute()
    found = updated(metric(), torch.arange(IMAGES))
    found.reset()
    with pytest.raises(VerificationError, match="2002 of 2002 images"):
        found.compute()


def test_images_of_no_pair_do_no_harm() -> None:
    _, pairs, same = images()
    some = VerificationAccuracy(pairs[:400], same[:400])
    table, _, _ = images()
    some.update(table, torch.arange(IMAGES))
    distances = (table[pairs[:400, 0]] - table[pairs[:400, 1]]).square().sum(1)
    assert some.compute() == verification_accuracy(distances, same[:400])


def _compute_on_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    # As a distributed sampler has it: three images more, so that both have equally many.
    padded = torch.cat([torch.arange(IMAGES), torch.arange(3), torch.zeros(1).long()])
    found = updated(metric(), padded[rank::2]).compute()
    assert found == expected()
    dist.destroy_process_group()


def test_two_processes_count_every_pair_once(tmp_path: Path) -> None:
    spawn(_compute_on_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
