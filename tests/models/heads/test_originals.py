"""Logits, losses, gradients and running statistics equal those of the published code."""

from collections.abc import Callable
from functools import partial

import pytest
import torch

from qdgs_lightning.models.heads import (
    AdaFace,
    ArcFace,
    CombinedMargin,
    CosFace,
    CurricularFace,
    MarginHead,
    SampledHead,
)
from tests.models.heads.samples import CLASSES, DIM, given_rows, originals

CASES: list[tuple[str, Callable[[], MarginHead]]] = [
    (
        "arcface_torch.ArcFace",
        lambda: ArcFace(DIM, CLASSES, gradient="straight_through", beyond_pi="ignore"),
    ),
    ("arcface_torch.CosFace", lambda: CosFace(DIM, CLASSES)),
    (
        "arcface_torch.CombinedMarginLoss",
        lambda: CombinedMargin(
            DIM, CLASSES, m3=0.0, gradient="straight_through", beyond_pi="ignore"
        ),
    ),
    ("AdaFace.AdaFace", lambda: AdaFace(DIM, CLASSES)),
    ("AdaFace.AdaFace_fast", lambda: AdaFace(DIM, CLASSES, h=0.5, t_alpha=0.6)),
    ("AdaFace.ArcFace", lambda: ArcFace(DIM, CLASSES, beyond_pi="clip")),
    ("AdaFace.CosFace", lambda: CosFace(DIM, CLASSES)),
    ("CurricularFace.ArcFace", lambda: ArcFace(DIM, CLASSES)),
    ("CurricularFace.CurricularFace", lambda: CurricularFace(DIM, CLASSES)),
]


@pytest.mark.parametrize(("name", "make"), CASES, ids=[name for name, _ in CASES])
def test_three_batches_as_in_the_published_code(name: str, make: Callable[[], MarginHead]) -> None:
    given = originals()
    head = given_rows(make(), given["weight"])
    for step, (x, labels) in enumerate(zip(given["embeddings"], given["labels"], strict=True)):
        embeddings = x.clone().requires_grad_()
        head.weight.grad = None
        logits = head(embeddings, labels)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        expected = {key: given[f"{name}/{key}"][step] for key in ("logits", "loss")}
        torch.testing.assert_close(logits, expected["logits"], rtol=1e-5, atol=2e-4)
        torch.testing.assert_close(loss, expected["loss"], rtol=1e-5, atol=1e-4)
        for key, found in (("embeddings_grad", embeddings.grad), ("weight_grad", head.weight.grad)):
            wanted = given[f"{name}/{key}"][step]
            largest = float(wanted.abs().max())
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * largest)
        for key in ("batch_mean", "batch_std", "t"):
            if hasattr(head, key):
                wanted = given[f"{name}/{key}"][step]
                torch.testing.assert_close(getattr(head, key), wanted, rtol=1e-6, atol=1e-7)


def test_the_inputs_reach_all_regions() -> None:
    given = originals()
    rows = torch.nn.functional.normalize(given["weight"])[given["labels"]]
    cosines = torch.nn.functional.cosine_similarity(given["embeddings"], rows, dim=-1)
    assert (cosines > 0.9).any()
    assert (cosines < -0.98).any()
    # Lengths on both sides of the fast head's mean, and z beyond 1 is clipped nowhere or rarely.
    lengths = given["embeddings"].norm(dim=-1)
    assert (lengths < given["AdaFace.AdaFace_fast/batch_mean"]).any()
    assert (lengths > given["AdaFace.AdaFace_fast/batch_mean"]).any()


@pytest.mark.parametrize(
    ("name", "head"),
    [
        (
            "arcface",
            partial(ArcFace, scale=16.0, gradient="straight_through", beyond_pi="ignore"),
        ),
        ("cosface", partial(CosFace, scale=16.0)),
    ],
)
@pytest.mark.parametrize("world_size", [1, 2])
def test_one_process_gives_partial_fc_s_numbers(
    name: str, head: Callable[[int, int], MarginHead], world_size: int
) -> None:
    given = originals()
    sampled = SampledHead(DIM, CLASSES, head=head)
    sampled.prepare()
    sampled.load_state_dict({**sampled.state_dict(), "weight": given["weight"]})
    embeddings = given["embeddings"][0].clone().requires_grad_()
    loss = sampled(embeddings, given["labels"][0])
    loss.backward()
    key = f"partial_fc.{name}.{world_size}"
    torch.testing.assert_close(loss, given[f"{key}/loss"], rtol=1e-5, atol=1e-4)
    wanted = given[f"{key}/weight_grad"]
    torch.testing.assert_close(sampled.weight.grad, wanted, rtol=1e-4, atol=1e-4)
    # Theirs is times the number of processes, by which DDP divides.
    assert embeddings.grad is not None
    wanted = given[f"{key}/embeddings_grad"] / world_size
    torch.testing.assert_close(embeddings.grad, wanted, rtol=1e-4, atol=1e-5)
