"""Heads in two processes: what they compute and keep equals that of one.

Starting processes takes seconds, so two are started once; each leaves what it found in a file.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from qdgs_lightning.models.heads import (
    AdaFace,
    ArcFace,
    CurricularFace,
    HeadError,
    MarginHead,
    SampledHead,
    names_ignored_by_ddp,
)
from qdgs_lightning.models.heads.sharding import rows_of_rank
from tests.models.heads.samples import (
    CLASSES,
    DIM,
    given_rows,
    gradient,
    rows_and_batch,
    sampled,
)

Found = dict[str, Any]
WITH_STATISTICS: list[Callable[[int, int], MarginHead]] = [
    partial(AdaFace, t_alpha=0.3),
    partial(CurricularFace, t_alpha=0.3),
]
MAKES: list[Callable[[int, int], MarginHead]] = [
    partial(ArcFace, gradient="straight_through"),
    *WITH_STATISTICS,
]


class Recogniser(nn.Module):
    """A backbone and a head, as a LightningModule has them."""

    def __init__(self, make: Callable[[int, int], MarginHead]) -> None:
        super().__init__()
        self.backbone = nn.Linear(5, DIM)
        nn.init.normal_(self.backbone.weight, generator=torch.Generator().manual_seed(4))
        nn.init.zeros_(self.backbone.bias)
        self.head = SampledHead(DIM, CLASSES, head=make)
        self.head.prepare()
        self._ddp_params_and_buffers_to_ignore = names_ignored_by_ddp(self)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the loss."""
        loss: Tensor = self.head(self.backbone(x), labels)
        return loss


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Return this process's part of a batch of eight."""
    draw = torch.Generator().manual_seed(100 + step)
    x, labels = torch.randn(8, 5, generator=draw), torch.randint(CLASSES, (8,), generator=draw)
    if not dist.is_initialized():
        return x, labels
    mine = slice(4 * dist.get_rank(), 4 * dist.get_rank() + 4)
    return x[mine], labels[mine]


def train(number: int, steps: range, saved: Found | None = None) -> Found:
    """Take steps of SGD from where others stopped."""
    model = Recogniser(MAKES[number])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    model.head.prepare_optimizer(optimizer)
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))
    parallel = DistributedDataParallel(model) if dist.is_initialized() else model
    losses = []
    for step in steps:
        optimizer.zero_grad()
        loss = parallel(*batch(step))
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.detach())
    return {
        "model": copy.deepcopy(model.state_dict()),
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "losses": torch.stack(losses),
        "backbone": gradient(model.backbone.weight).clone(),
        "rows": gradient(model.head.weight).clone(),
    }


def statistics(number: int, mine: slice) -> Found:
    """Return logits and what the head keeps after three batches, of unequal parts."""
    weight, embeddings, labels = rows_and_batch(33)
    head = given_rows(WITH_STATISTICS[number](DIM, CLASSES), weight)
    logits = [head(embeddings[mine], labels[mine]).detach() for _ in range(3)]
    return {"logits": logits[-1], "state": head.state_dict()}


def part(rank: int) -> slice:
    """Return unequal parts: one sample has no deviation, and counts with all."""
    return slice(0, 32) if rank == 0 else slice(32, 33)


def half_and_half() -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, embeddings, and labels at the same places of both halves of the rows."""
    weight, embeddings, _ = rows_and_batch(8, classes=102)
    return weight, embeddings, torch.tensor([0, 51, 1, 52, 2, 53, 50, 101])


def drawn(mine: slice) -> Found:
    """Compare with a part of the rows."""
    weight, embeddings, labels = half_and_half()
    head = sampled(ArcFace, weight, sample_rate=0.3)
    x = embeddings[mine].clone().requires_grad_()
    loss = head(x, labels[mine])
    torch.autograd.backward(loss)
    return {"loss": loss.detach(), "embeddings": gradient(x), "rows": gradient(head.weight)}


def refused() -> list[str]:
    """Return what is said of mistakes; both processes must hear of what one of them does."""
    rank, said = dist.get_rank(), []
    zeros = torch.zeros(3 + rank, dtype=torch.int64)
    for make in (
        lambda: Recogniser(ArcFace)(torch.ones(3 + rank, 5), zeros),
        lambda: Recogniser(ArcFace)(torch.ones(2, 5), torch.tensor([0, 11 * rank])),
        lambda: SampledHead(DIM, 1).prepare(),
    ):
        with pytest.raises(HeadError) as caught:
            make()
        said.append(str(caught.value))
    return said


def cut_later(head: SampledHead) -> Tensor:
    """Return the rows of a head that was loaded before the processes were started."""
    with pytest.raises(HeadError, match=r"for this process yet; call its prepare\(\)"):
        head(torch.ones(1, DIM), torch.tensor([0]))
    head.prepare()
    head(torch.ones(1, DIM), torch.tensor([0]))
    return head.weight.detach()


def _on_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    loaded = sampled(ArcFace, rows_and_batch(1)[0])
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    alone = torch.load(f"{folder}/alone.pt", weights_only=True)
    found = {
        "early": [train(number, range(2)) for number in range(3)],
        "late": [train(number, range(2, 4), alone[number]) for number in range(3)],
        "statistics": [statistics(number, part(rank)) for number in range(2)],
        "drawn": drawn(slice(4 * rank, 4 * rank + 4)),
        "cut_later": cut_later(loaded),
        "refused": refused(),
    }
    dist.destroy_process_group()
    with pytest.raises(HeadError, match="split for other processes than the 1 there are now"):
        loaded.prepare()
    torch.save(found, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """Return what the two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    torch.save([train(number, range(2)) for number in range(3)], folder / "alone.pt")
    spawn(_on_rank, args=(str(folder),), nprocs=2)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def assert_same_training(one: Found, other: Found) -> None:
    torch.testing.assert_close(one["losses"], other["losses"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one["model"], other["model"], rtol=1e-5, atol=1e-6)
    assert one["optimizer"]["state"].keys() == other["optimizer"]["state"].keys() != set()
    for number, state in other["optimizer"]["state"].items():
        torch.testing.assert_close(one["optimizer"]["state"][number], state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", range(3))
def test_two_processes_begin_and_train_as_one(found: list[Found], number: int) -> None:
    expected = train(number, range(2))
    for rank in range(2):
        early = found[rank]["early"][number]
        assert_same_training(early, expected)
        torch.testing.assert_close(early["backbone"], expected["backbone"], rtol=1e-4, atol=1e-5)
        rows = expected["rows"][rows_of_rank(CLASSES, rank, 2)]
        torch.testing.assert_close(early["rows"], rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", range(3))
def test_one_process_then_two_then_one_train_as_one(found: list[Found], number: int) -> None:
    first, second = (found[rank]["late"][number] for rank in range(2))
    assert first["model"]["head.weight"].shape == (CLASSES, DIM)
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key])
    expected = train(number, range(2, 4), train(number, range(2)))
    assert_same_training(first, expected)
    assert_same_training(train(number, range(4, 6), first), train(number, range(4, 6), expected))


@pytest.mark.parametrize("number", range(2))
def test_two_processes_keep_the_statistics_of_one(found: list[Found], number: int) -> None:
    expected = statistics(number, slice(0, 33))
    for rank in range(2):
        of_rank = found[rank]["statistics"][number]
        torch.testing.assert_close(of_rank["state"], expected["state"], rtol=1e-6, atol=1e-7)
        logits = expected["logits"][part(rank)]
        torch.testing.assert_close(of_rank["logits"], logits, rtol=1e-5, atol=1e-4)


def test_two_processes_compare_with_rows_that_each_drew(found: list[Found]) -> None:
    first, second = (found[rank]["drawn"] for rank in range(2))
    rows = torch.cat([first["rows"], second["rows"]])
    chosen = rows.abs().sum(dim=1).nonzero()[:, 0]
    low, high = (chosen[chosen < 51]).tolist(), (chosen[chosen >= 51] - 51).tolist()
    assert (len(low), len(high)) == (15, 15)
    weight, embeddings, labels = half_and_half()
    assert set(labels.tolist()) <= set(chosen.tolist())
    assert low != high  # each draws for itself
    plain = given_rows(ArcFace(DIM, 30), weight[chosen])
    x = embeddings.clone().requires_grad_()
    expected = plain.loss(x, torch.searchsorted(chosen, labels))
    torch.autograd.backward(expected)
    torch.testing.assert_close(rows[chosen], gradient(plain.weight), rtol=1e-4, atol=1e-5)
    joined = torch.cat([first["embeddings"], second["embeddings"]])
    # Times the number of processes, by which DDP divides.
    torch.testing.assert_close(joined, 2 * gradient(x), rtol=1e-4, atol=1e-5)
    for of_rank in (first, second):
        torch.testing.assert_close(of_rank["loss"], expected.detach())


def test_all_rows_of_one_process_are_split_when_others_come(found: list[Found]) -> None:
    rows = torch.cat([found[rank]["cut_later"] for rank in range(2)])
    assert torch.equal(rows, rows_and_batch(1)[0])


def test_both_processes_hear_of_a_mistake_of_one(found: list[Found]) -> None:
    assert found[0]["refused"] == found[1]["refused"]
    sizes, labels, classes = found[0]["refused"]
    assert "batches of [3, 4] samples; give all the same" in sizes
    assert "Label 11 is outside the 11 classes" in labels
    assert "1 classes cannot be split over 2 processes" in classes
