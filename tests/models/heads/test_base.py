"""What holds for every margin head: precision, gradients, evaluation, labels, checkpoints."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from qdgs_lightning.models.heads import (
    AdaFace,
    ArcFace,
    CombinedMargin,
    CosFace,
    CurricularFace,
    Gradient,
    HeadError,
    MarginHead,
    NormFace,
)
from tests.models.heads.samples import ALL, CLASSES, DIM, given_rows, rows_and_batch

Make = Callable[[int, int], MarginHead]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_changes_the_embeddings_alone(make: Make, dtype: torch.dtype) -> None:
    weight, embeddings, labels = rows_and_batch(16)
    head, other = (given_rows(make(DIM, CLASSES), weight) for _ in range(2))
    with torch.autocast("cpu", dtype=dtype):
        logits = head(embeddings.to(dtype), labels)
        loss = head.eval().loss(embeddings.to(dtype), labels)
    assert logits.dtype == loss.dtype == torch.float32
    assert torch.equal(logits, other(embeddings.to(dtype).float(), labels))


@pytest.mark.parametrize("gradient", ["exact", "straight_through"])
@pytest.mark.parametrize("make", [ArcFace, CombinedMargin, AdaFace, CurricularFace])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_finite_on_and_opposite_the_row(
    make: Callable[..., MarginHead], gradient: Gradient, dtype: torch.dtype
) -> None:
    weight, _, labels = rows_and_batch(8)
    head = given_rows(make(DIM, CLASSES, gradient=gradient), weight)
    signs = torch.tensor([1.0, -1.0]).repeat(4)[:, None]
    embeddings = (10 * signs * weight[labels]).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(embeddings, labels)
    torch.autograd.backward(cross_entropy(logits, labels))
    assert logits.isfinite().all()
    for found in (embeddings.grad, head.weight.grad):
        assert found is not None
        assert found.isfinite().all()


@pytest.mark.parametrize("make", ALL)
def test_an_embedding_of_zeros_gives_zeros(make: Make) -> None:
    weight, embeddings, labels = rows_and_batch(4)
    head = given_rows(make(DIM, CLASSES), weight)
    embeddings[1] = 0
    embeddings.requires_grad_()
    logits = head(embeddings, labels)
    torch.autograd.backward(cross_entropy(logits, labels))
    others = torch.arange(CLASSES) != labels[1]
    assert (logits[1, others] == 0).all()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize(
    "head",
    [
        ArcFace(DIM, CLASSES, margin=0.0),
        ArcFace(DIM, CLASSES, margin=0.0, beyond_pi="clip"),
        ArcFace(DIM, CLASSES, margin=0.0, gradient="straight_through"),
        CosFace(DIM, CLASSES, margin=0.0),
        CombinedMargin(DIM, CLASSES, m2=0.0, m3=0.0),
        AdaFace(DIM, CLASSES, margin=0.0),
    ],
)
def test_without_a_margin_all_are_normface(head: MarginHead) -> None:
    weight, embeddings, labels = rows_and_batch(32)
    logits = given_rows(head, weight)(embeddings, labels)
    expected = given_rows(NormFace(DIM, CLASSES), weight)(embeddings, labels)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    cosines = cosine_similarity(embeddings[:, None], weight[None], dim=-1)
    torch.testing.assert_close(expected, 64 * cosines, rtol=0, atol=1e-4)


def test_curricularface_without_a_margin_keeps_easy_answers() -> None:
    weight, embeddings, labels = rows_and_batch(32)
    logits = given_rows(CurricularFace(DIM, CLASSES, margin=0.0), weight)(embeddings, labels)
    expected = given_rows(NormFace(DIM, CLASSES), weight)(embeddings, labels)
    target = expected.gather(1, labels[:, None])
    easy = expected <= target - 1e-3
    torch.testing.assert_close(logits[easy], expected[easy], rtol=0, atol=1e-4)
    torch.testing.assert_close(logits.gather(1, labels[:, None]), target, rtol=0, atol=1e-4)
    assert not torch.allclose(logits[expected > target + 1], expected[expected > target + 1])


@pytest.mark.parametrize("make", ALL)
def test_evaluation_knows_no_margin_and_moves_nothing(make: Make) -> None:
    weight, embeddings, labels = rows_and_batch(32)
    head = given_rows(make(DIM, CLASSES), weight).eval()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    expected = given_rows(NormFace(DIM, CLASSES), weight).eval()(embeddings)
    cosines = cosine_similarity(embeddings[:, None], weight[None], dim=-1)
    torch.testing.assert_close(expected, 64 * cosines, rtol=0, atol=1e-4)
    assert torch.equal(head(embeddings), expected)
    assert torch.equal(head(embeddings, labels), expected)
    assert torch.equal(head.loss(embeddings, labels), cross_entropy(expected, labels))
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())


@pytest.mark.parametrize(
    "head",
    [
        NormFace(DIM, CLASSES),
        ArcFace(DIM, CLASSES),
        ArcFace(DIM, CLASSES, beyond_pi="ignore"),
        CosFace(DIM, CLASSES),
        CombinedMargin(DIM, CLASSES, m1=0.9, m2=0.4, m3=0.15),
        CombinedMargin(DIM, CLASSES, m1=1.35, m2=0.0, m3=0.0),
        AdaFace(DIM, CLASSES, t_alpha=0.0),
        CurricularFace(DIM, CLASSES, t_alpha=0.0),
    ],
)
def test_exact_gradients_are_those_of_finite_differences(head: MarginHead) -> None:
    weight, embeddings, labels = (x.double() for x in rows_and_batch(5))
    head = given_rows(head, weight).double()
    if isinstance(head, AdaFace):
        head.batch_mean.fill_(40.0)
        head.batch_std.fill_(10.0)
    if isinstance(head, CurricularFace):
        head.t.fill_(0.3)
    # Lengths stay: AdaFace takes them for constants.
    lengths = torch.linspace(20, 60, 5, dtype=torch.float64)[:, None]

    def logits(x: Tensor, w: Tensor) -> Tensor:
        x = lengths * x / x.norm(dim=1, keepdim=True)
        scores: Tensor = torch.func.functional_call(head, {"weight": w}, (x, labels.long()))
        return scores

    assert torch.autograd.gradcheck(
        logits, (embeddings.requires_grad_(), weight.requires_grad_()), eps=1e-6, atol=1e-5
    )


def test_what_the_two_gradients_differ_by() -> None:
    # arcface_torch was seen to give 64 at cos = -0.494, where the true gradient is 38.74.
    angle, margin = math.acos(-0.494), 0.5
    found = []
    for kind in ("straight_through", "exact"):
        head = ArcFace(2, 1, margin=margin, gradient=kind)
        given_rows(head, torch.tensor([[1.0, 0.0]]))
        embedding = torch.tensor([[math.cos(angle), math.sin(angle)]], requires_grad=True)
        logits = head(embedding, torch.tensor([0]))
        torch.testing.assert_close(
            logits, torch.tensor([[64 * math.cos(angle + margin)]]), rtol=1e-5, atol=1e-5
        )
        torch.autograd.backward(logits.sum())
        assert embedding.grad is not None
        # Along the circle, the cosine changes by minus the sine.
        along = embedding.grad[0] @ torch.tensor([-math.sin(angle), math.cos(angle)])
        found.append(float(along) / -math.sin(angle))
    assert found[0] == pytest.approx(64, rel=1e-5)
    assert found[1] == pytest.approx(38.74, abs=0.02)
    assert found[1] == pytest.approx(64 * math.sin(angle + margin) / math.sin(angle), rel=1e-5)


def test_a_gradient_of_straight_through_is_a_target_s_probability() -> None:
    weight, embeddings, labels = rows_and_batch(16)
    head = given_rows(CurricularFace(DIM, CLASSES, gradient="straight_through"), weight)
    cosines = torch.rand(16, CLASSES, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    cosines.requires_grad_()
    logits = head.apply_margin(cosines * 1.0, labels, embeddings.norm(dim=1))
    torch.autograd.backward((64 * logits).logsumexp(dim=1).sum())
    share = (64 * logits).softmax(dim=1).gather(1, labels[:, None])
    assert cosines.grad is not None
    torch.testing.assert_close(cosines.grad.gather(1, labels[:, None]), 64 * share)


def test_reserved_rows_cost_nothing_but_being_wrong() -> None:
    weight, embeddings, labels = rows_and_batch(16)
    reserved = torch.randn(5, DIM, generator=torch.Generator().manual_seed(3))
    head = given_rows(ArcFace(DIM, CLASSES), weight)
    larger = given_rows(ArcFace(DIM, CLASSES + 5), torch.cat([weight, reserved]))
    logits = larger(embeddings, labels)
    torch.testing.assert_close(logits[:, :CLASSES], head(embeddings, labels))
    torch.autograd.backward(cross_entropy(logits, labels))
    assert larger.weight.grad is not None
    assert larger.weight.grad.isfinite().all()
    # The new identity is known at once.
    larger(embeddings[:1], torch.tensor([CLASSES + 4]))


@pytest.mark.parametrize("make", ALL)
def test_the_state_is_plain_and_whole(make: Make) -> None:
    _, embeddings, labels = rows_and_batch(16)
    first, second = make(DIM, CLASSES), make(DIM, CLASSES)
    first(embeddings, labels)
    second.load_state_dict(first.state_dict())
    assert first.weight.shape == (CLASSES, DIM)
    assert first.weight.dtype == torch.float32
    for _ in range(2):
        assert torch.equal(first(embeddings, labels), second(embeddings, labels))


@pytest.mark.parametrize("make", ALL)
def test_first_rows_are_spread_over_all_directions(make: Make) -> None:
    torch.manual_seed(0)
    weight = make(64, 2000).weight.detach()
    directions = weight / weight.norm(dim=1, keepdim=True)
    assert directions.mean(dim=0).abs().max() < 5 / math.sqrt(64 * 2000)
    length = 1.0 if make is AdaFace else 0.01 * 8
    torch.testing.assert_close(weight.norm(dim=1).mean(), torch.tensor(length), rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.ones(2, DIM), torch.tensor([0, CLASSES]), f"Label {CLASSES} is outside the 11"),
        (torch.ones(2, DIM), torch.tensor([-1, 0]), "Label -1 is outside the 11 classes"),
        (torch.ones(2, DIM), torch.tensor([0.0, 1.0]), "type torch.float32; it takes"),
        (torch.ones(2, DIM), torch.tensor([0]), r"labels of shape \[1\]"),
        (torch.ones(2, DIM), torch.tensor([[0], [1]]), r"labels of shape \[2, 1\]"),
        (torch.ones(2, DIM + 1), torch.tensor([0, 1]), r"takes \[n, 6\], so set embedding_dim"),
        (torch.ones(2, DIM, 1), torch.tensor([0, 1]), r"shape \[2, 6, 1\]"),
        (torch.ones(2, DIM), None, "ArcFace needs labels in training"),
    ],
)
def test_batches_that_do_not_fit(embeddings: Tensor, labels: Tensor | None, message: str) -> None:
    with pytest.raises(HeadError, match=message):
        ArcFace(DIM, CLASSES)(embeddings, labels)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (ArcFace, {"margin": -0.1}, r"ArcFace has margin=-0.1; give a number from 0 to 3.14"),
        (ArcFace, {"margin": math.nan}, "margin=nan"),
        (ArcFace, {"scale": 0.0}, "scale=0"),
        (ArcFace, {"gradient": "none"}, "gradient='none'; give one of exact, straight_through"),
        (ArcFace, {"beyond_pi": "easy"}, "beyond_pi='easy'; give one of linear, clip, ignore"),
        (ArcFace, {"margin": 3.15}, "margin=3.15"),
        (CombinedMargin, {"m1": 10.1}, "m1=10.1"),
        (CombinedMargin, {"m3": 2.1}, "m3=2.1; give a number from 0 to 2"),
        (AdaFace, {"h": 10.1}, "h=10.1"),
        (AdaFace, {"t_alpha": -0.1}, "t_alpha=-0.1"),
        (CurricularFace, {"margin": -0.1}, "margin=-0.1"),
        (CurricularFace, {"t_alpha": 1.1}, "t_alpha=1.1"),
        (CosFace, {"margin": -0.1}, "margin=-0.1"),
        (CosFace, {"margin": 2.5}, "margin=2.5; give a number from 0 to 2"),
        (CombinedMargin, {"m1": 0.0}, "m1=0"),
        (CombinedMargin, {"m2": 4.0}, "m2=4"),
        (CombinedMargin, {"m3": -1.0}, "m3=-1"),
        (CombinedMargin, {"beyond_pi": "easy"}, "beyond_pi='easy'"),
        (AdaFace, {"h": -1.0}, "h=-1"),
        (AdaFace, {"t_alpha": 1.5}, "t_alpha=1.5"),
        (AdaFace, {"margin": 2.0}, "margin=2"),
        (CurricularFace, {"margin": 4.0}, "margin=4"),
        (CurricularFace, {"t_alpha": -1.0}, "t_alpha=-1"),
        (NormFace, {"scale": -64.0}, "scale=-64"),
    ],
)
def test_settings_that_make_no_sense(
    make: Callable[..., MarginHead], options: dict[str, float], message: str
) -> None:
    with pytest.raises(HeadError, match=message):
        make(DIM, CLASSES, **options)


def test_sizes_must_be_positive() -> None:
    for sizes in ((0, 3), (3, 0)):
        with pytest.raises(HeadError, match="both must be positive"):
            ArcFace(*sizes)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (ArcFace, {"margin": math.pi}),
        (CosFace, {"margin": 2.0}),
        (CombinedMargin, {"m1": 10.0, "m2": math.pi, "m3": 2.0}),
        (CombinedMargin, {"m1": 0.1, "m2": 0.0, "m3": 0.0}),
        (AdaFace, {"margin": math.pi / 2, "h": 10.0, "t_alpha": 1.0}),
        (CurricularFace, {"margin": math.pi, "t_alpha": 1.0}),
    ],
)
def test_the_ends_of_ranges_are_within(
    make: Callable[..., MarginHead], options: dict[str, float]
) -> None:
    _, embeddings, labels = rows_and_batch(4)
    head = make(DIM, CLASSES, **options)
    assert all(getattr(head, name) == value for name, value in options.items())
    assert head(embeddings, labels).isfinite().all()


@pytest.mark.parametrize("make", ALL)
def test_the_loss_is_the_mean_cross_entropy(make: Make) -> None:
    weight, embeddings, labels = rows_and_batch(8)
    one, other = (given_rows(make(DIM, CLASSES), weight) for _ in range(2))
    logits = one(embeddings, labels).detach().double()
    expected = (logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).mean()
    assert float(other.loss(embeddings, labels).detach()) == pytest.approx(float(expected))
