"""The combined margin: a closed form, and the heads that it contains."""

import pytest
import torch

from qdgs_lightning.models.heads import ArcFace, CombinedMargin, CosFace, MarginHead
from tests.models.heads.samples import CLASSES, DIM, given_rows, rows_and_batch


@pytest.mark.parametrize(("m1", "m2", "m3"), [(1.0, 0.3, 0.2), (0.9, 0.4, 0.15), (1.35, 0.0, 0.0)])
def test_all_three_margins(m1: float, m2: float, m3: float) -> None:
    angles = torch.tensor([0.3, 1.0, 1.7])
    head = CombinedMargin(2, 3, m1=m1, m2=m2, m3=m3, scale=10.0)
    given_rows(head, torch.tensor([[5.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    logits = head(torch.stack([angles.cos(), angles.sin()], dim=1), torch.tensor([0, 0, 0]))
    expected = torch.stack([(m1 * angles + m2).cos() - m3, angles.sin(), -angles.cos()], dim=1)
    torch.testing.assert_close(logits, 10 * expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("combined", "single"),
    [
        (CombinedMargin(DIM, CLASSES, m2=0.5, m3=0.0), ArcFace(DIM, CLASSES)),
        (CombinedMargin(DIM, CLASSES, m2=0.0, m3=0.4), CosFace(DIM, CLASSES)),
    ],
)
def test_it_contains_arcface_and_cosface(combined: MarginHead, single: MarginHead) -> None:
    weight, embeddings, labels = rows_and_batch(16)
    embeddings[::2] *= -1  # beyond pi as well
    expected = given_rows(single, weight)(embeddings, labels)
    found = given_rows(combined, weight)(embeddings, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
