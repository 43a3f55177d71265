"""The head whose rows are split and drawn, in one process: against the plain head."""

import copy
from collections.abc import Callable

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor
from torch.nn.functional import cross_entropy

from qdgs_lightning.models.heads import (
    AdaFace,
    ArcFace,
    CosFace,
    HeadError,
    MarginHead,
    SampledHead,
)
from tests.models.heads.samples import (
    ALL,
    CLASSES,
    DIM,
    given_rows,
    gradient,
    rows_and_batch,
    sampled,
)

Make = Callable[[int, int], MarginHead]


@pytest.mark.parametrize("make", ALL)
def test_all_rows_in_one_process_are_the_plain_head(make: Make) -> None:
    weight, embeddings, labels = rows_and_batch(16)
    plain, head = given_rows(make(DIM, CLASSES), weight), sampled(make, weight)
    for _ in range(2):
        first, second = (embeddings.clone().requires_grad_() for _ in range(2))
        expected, loss = plain.loss(first, labels), head(second, labels)
        torch.testing.assert_close(loss, expected)
        plain.zero_grad()
        head.zero_grad()
        torch.autograd.backward([expected, loss])
        torch.testing.assert_close(gradient(second), gradient(first), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            gradient(head.weight), gradient(plain.weight), rtol=1e-4, atol=1e-5
        )
    torch.testing.assert_close(
        head.eval().loss(embeddings, labels), plain.eval().loss(embeddings, labels)
    )


def test_a_step_compares_with_the_batch_s_rows_and_random_others() -> None:
    weight, embeddings, labels = rows_and_batch(16, classes=300)
    head = sampled(ArcFace, weight, sample_rate=0.2)
    seen = []
    for _ in range(20):
        head.zero_grad()
        x = embeddings.clone().requires_grad_()
        loss = head(x, labels)
        torch.autograd.backward(loss)
        chosen = gradient(head.weight).abs().sum(dim=1).nonzero()[:, 0]
        assert len(chosen) == 60
        assert set(labels.tolist()) <= set(chosen.tolist())
        seen.append(chosen)
        plain = given_rows(ArcFace(DIM, 60), weight[chosen])
        y = embeddings.clone().requires_grad_()
        expected = plain.loss(y, torch.searchsorted(chosen, labels))
        torch.autograd.backward(expected)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient(x), gradient(y), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            gradient(head.weight)[chosen], gradient(plain.weight), rtol=1e-4, atol=1e-5
        )
    # Every other row has the same chance: 20 draws of about 45 among 285 leave out 3 %.
    assert 0 < 300 - len(set(torch.cat(seen).tolist())) < 30
    # In evaluation all take part.
    expected = given_rows(ArcFace(DIM, 300), weight).eval().loss(embeddings, labels)
    torch.testing.assert_close(head.eval()(embeddings, labels), expected)


def test_every_identity_of_the_batch_finds_room() -> None:
    weight, embeddings, labels = rows_and_batch(64, classes=100)
    head = sampled(CosFace, weight, sample_rate=0.01)
    torch.autograd.backward(head(embeddings, labels))
    rows = gradient(head.weight).abs().sum(dim=1).nonzero()[:, 0]
    assert len(rows) == 64
    assert set(labels.tolist()) <= set(rows.tolist())


def test_the_first_and_the_last_row_take_part_with_their_identities() -> None:
    weight, embeddings, _ = rows_and_batch(4, classes=300)
    labels = torch.tensor([0, 299, 0, 150])
    head = sampled(ArcFace, weight, sample_rate=0.02)
    for _ in range(8):
        head.zero_grad()
        torch.autograd.backward(head(embeddings, labels))
        chosen = gradient(head.weight).abs().sum(dim=1).nonzero()[:, 0]
        assert len(chosen) == 6
        assert {0, 150, 299} <= set(chosen.tolist())


def test_draws_depend_on_seed_and_step_alone_and_go_on_after_a_pause() -> None:
    weight, embeddings, labels = rows_and_batch(8, classes=200)
    first = sampled(ArcFace, weight, sample_rate=0.2, seed=1)
    torch.manual_seed(0)
    losses = [float(first(embeddings, labels).detach()) for _ in range(4)]
    second = sampled(ArcFace, weight, sample_rate=0.2, seed=1)
    torch.manual_seed(1)
    assert [float(second(embeddings, labels).detach()) for _ in range(2)] == losses[:2]
    resumed = sampled(ArcFace, weight, sample_rate=0.2, seed=1)
    resumed.load_state_dict(copy.deepcopy(second.state_dict()))
    assert [float(resumed(embeddings, labels).detach()) for _ in range(2)] == losses[2:]
    other = sampled(ArcFace, weight, sample_rate=0.2, seed=2)
    assert len({*losses, float(other(embeddings, labels).detach())}) == 5


@pytest.mark.parametrize("make", [ArcFace, AdaFace])
def test_first_rows_do_not_depend_on_the_size_of_a_shard(make: Make) -> None:
    # Three blocks of 4096 rows; a larger head begins with the same.
    torch.manual_seed(0)
    heads = [SampledHead(3, classes, head=make, seed=5) for classes in (8195, 9000)]
    for head in heads:
        head.prepare()
    first, second = (head.state_dict()["weight"] for head in heads)
    assert first.shape == (8195, 3)
    assert torch.equal(first, second[:8195])
    assert len(first.unique(dim=0)) == 8195
    length = 1.0 if make is AdaFace else 0.01 * 1.6
    torch.testing.assert_close(first.norm(dim=1).mean(), torch.tensor(length), rtol=0.02, atol=0)


def test_a_checkpoint_can_be_loaded_at_once() -> None:
    weight, embeddings, labels = rows_and_batch(4)
    head = sampled(ArcFace, weight)
    other = SampledHead(DIM, CLASSES, seed=3)
    other.load_state_dict(head.state_dict())
    other.prepare()
    assert torch.equal(other.weight, weight)
    assert torch.equal(other(embeddings, labels), head(embeddings, labels))


def test_yaml_names_the_margin() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--head", type=SampledHead)
    rooms = "qdgs_lightning.models.heads"
    margin = {"class_path": f"{rooms}.CosFace", "init_args": {"margin": 0.35}}
    options = {"embedding_dim": 4, "num_classes": 3, "head": margin, "sample_rate": 0.5}
    given = {"head": {"class_path": f"{rooms}.SampledHead", "init_args": options}}
    head = parser.instantiate(parser.parse_object(given)).head
    assert isinstance(head.margin, CosFace)
    assert (head.margin.margin, head.sample_rate) == (0.35, 0.5)


def test_what_is_asked_too_early_or_of_the_wrong_size() -> None:
    _, embeddings, labels = rows_and_batch(4)
    early = SampledHead(DIM, CLASSES)
    with pytest.raises(HeadError, match=r"has no rows for this process yet; call its prepare\(\)"):
        early(embeddings, labels)
    optimizer = torch.optim.SGD(early.parameters(), lr=0.1)
    early.prepare()
    with pytest.raises(HeadError, match="The optimizer does not have the head's rows"):
        early.prepare_optimizer(optimizer)
    with pytest.raises(HeadError, match="has 12 class rows and this head has 11; set num_classes"):
        early.load_state_dict({**early.state_dict(), "weight": torch.ones(12, DIM)})
    with pytest.raises(HeadError, match="Label 11 is outside"):
        early(embeddings, torch.full((4,), 11))
    with pytest.raises(HeadError, match=r"takes \[4\] of torch.int64"):
        early(embeddings, labels[:3])
    SampledHead(DIM, CLASSES, seed=2**32 - 1)
    for options in ({"sample_rate": 0.0}, {"sample_rate": 1.1}, {"seed": -1}, {"seed": 2**32}):
        with pytest.raises(HeadError, match="SampledHead has s"):
            SampledHead(DIM, CLASSES, **options)
    with pytest.raises(HeadError, match="num_classes=0"):
        SampledHead(DIM, 0)


def test_all_of_the_loss_is_seen_by_gradcheck() -> None:
    weight, embeddings, labels = rows_and_batch(5)
    head = sampled(ArcFace, weight).double()

    def loss(x: Tensor, w: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(head, {"weight": w}, (x, labels))
        return found

    inputs = (embeddings.double().requires_grad_(), weight.double().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs, atol=1e-4)


def test_far_losses_are_not_cut_off() -> None:
    # arcface_torch's stop at 69, because it takes the logarithm of a probability.
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    head = sampled(ArcFace, weight)
    x = torch.tensor([[-1.0, 0.2]], requires_grad=True)
    loss = head(x, torch.tensor([0]))
    plain = given_rows(ArcFace(2, 2), weight)
    expected = cross_entropy(plain(x, torch.tensor([0])), torch.tensor([0]))
    assert float(expected.detach()) > 100
    torch.testing.assert_close(loss, expected)
