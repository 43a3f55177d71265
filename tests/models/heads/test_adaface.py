"""AdaFace's margin and statistics: closed forms, and batches that have none."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from qdgs_lightning.models.heads import AdaFace, ArcFace, CosFace, CurricularFace, MarginHead
from tests.models.heads.samples import CLASSES, DIM, given_rows, rows_and_batch


@pytest.mark.parametrize("z", [-1, 0, 1])
def test_it_is_arcface_for_short_and_cosface_for_average_embeddings(z: int) -> None:
    weight, embeddings, labels = rows_and_batch(16)
    embeddings = 20 * embeddings / embeddings.norm(dim=1, keepdim=True)
    head = given_rows(AdaFace(DIM, CLASSES, h=1.0, t_alpha=0.0), weight)
    head.batch_mean.fill_(20 - 5.0 * z)
    head.batch_std.fill_(1.0)
    logits = head(embeddings, labels)
    if z == -1:
        expected = given_rows(ArcFace(DIM, CLASSES, margin=0.4, beyond_pi="clip"), weight)
        torch.testing.assert_close(logits, expected(embeddings, labels), rtol=0, atol=1e-3)
    elif z == 0:
        expected_ = given_rows(CosFace(DIM, CLASSES, margin=0.4), weight)
        torch.testing.assert_close(logits, expected_(embeddings, labels), rtol=0, atol=1e-3)
    else:
        plain = head.eval()(embeddings).gather(1, labels[:, None]) / 64
        narrowed = 64 * ((plain.clamp(-1, 1).acos() - 0.4).clamp_min(1e-3).cos() - 0.8)
        found = logits.gather(1, labels[:, None])
        torch.testing.assert_close(found, narrowed, rtol=0, atol=1e-3)


def test_statistics_follow_the_batches() -> None:
    _, embeddings, labels = rows_and_batch(64)
    head = AdaFace(DIM, CLASSES, t_alpha=0.25)
    norms = embeddings.double().norm(dim=1).clamp(0.001, 100)
    mean, std = 20.0, 100.0
    for batch in torch.arange(64).view(4, 16):
        head(embeddings[batch], labels[batch])
        mean = 0.75 * mean + 0.25 * float(norms[batch].mean())
        std = 0.75 * std + 0.25 * float(norms[batch].std())
        assert float(head.batch_mean) == pytest.approx(mean, rel=1e-6)
        assert float(head.batch_std) == pytest.approx(std, rel=1e-6)


def test_lengths_beyond_a_hundred_count_as_a_hundred() -> None:
    head = AdaFace(2, 3, t_alpha=1.0)
    head(torch.tensor([[50.0, 0.0], [0.0, 900.0]]), torch.tensor([0, 1]))
    assert float(head.batch_mean) == pytest.approx(75)
    assert float(head.batch_std) == pytest.approx(50 / 2**0.5, rel=1e-5)


def test_lengths_of_other_processes_move_nothing() -> None:
    """Rows of a joined batch whose class lies elsewhere are counted there."""
    norms = torch.tensor([[30.0], [90.0], [34.0], [5.0]])
    here = torch.tensor([[True], [False], [True], [False]])
    head = AdaFace(DIM, CLASSES, t_alpha=1.0)
    head.observe(torch.zeros(4, 1), norms, here)
    assert float(head.batch_mean) == pytest.approx(32)
    assert float(head.batch_std) == pytest.approx(8**0.5, rel=1e-5)


def test_small_deviations_are_seen_far_from_the_start() -> None:
    head = AdaFace(2, 3, t_alpha=0.5)
    norms = torch.tensor([60.0, 60.01, 60.02, 60.03])
    embeddings = norms[:, None] * torch.tensor([0.6, 0.8])
    for _ in range(40):
        head(embeddings, torch.tensor([0, 1, 2, 0]))
    assert float(head.batch_mean) == pytest.approx(60.015, abs=1e-4)
    assert float(head.batch_std) == pytest.approx(0.01291, rel=1e-2)


@pytest.mark.parametrize("case", ["one", "none", "nan", "inf"])
@pytest.mark.parametrize("make", [AdaFace, CurricularFace])
def test_batches_without_statistics_move_nothing(make: type[MarginHead], case: str) -> None:
    weight, embeddings, labels = rows_and_batch(2)
    head = given_rows(make(DIM, CLASSES), weight)
    if case in ("nan", "inf"):
        embeddings[1] = float(case)
        head(embeddings, labels)
    else:
        n = int(case == "one")
        assert head(embeddings[:n], labels[:n]).isfinite().all()
    # One sample has a cosine; a length that is infinite counts as 100.
    if (case, make) not in (("one", CurricularFace), ("inf", AdaFace)):
        fresh = make(DIM, CLASSES).state_dict()
        state = head.state_dict()
        assert all(torch.equal(state[key], fresh[key]) for key in state if key != "weight")
    # On the rows themselves, cosines are 1 or a little more.
    assert head(weight, torch.arange(CLASSES)).isfinite().all()


def test_a_length_has_no_gradient() -> None:
    weight, embeddings, labels = rows_and_batch(8)
    head = given_rows(AdaFace(DIM, CLASSES, h=10.0, t_alpha=1.0), weight)
    embeddings.requires_grad_()
    torch.autograd.backward(cross_entropy(head(embeddings, labels), labels))
    assert embeddings.grad is not None
    radial = (embeddings.grad * embeddings).sum(dim=1)
    torch.testing.assert_close(radial, torch.zeros(8), rtol=0, atol=1e-5)
