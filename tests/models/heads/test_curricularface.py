"""CurricularFace: which wrong answers become harder, and how t moves."""

import math

import pytest
import torch

from qdgs_lightning.models.heads import CurricularFace
from tests.models.heads.samples import CLASSES, DIM, given_rows, rows_and_batch


def test_t_follows_the_mean_target_cosine() -> None:
    weight, embeddings, labels = rows_and_batch(16)
    head = given_rows(CurricularFace(DIM, CLASSES), weight)
    cosine = torch.nn.functional.cosine_similarity(embeddings, weight[labels]).mean()
    for step in range(1, 4):
        head(embeddings, labels)
        assert float(head.t) == pytest.approx(float(cosine) * (1 - 0.99**step), rel=1e-5)


def test_only_hard_wrong_answers_change() -> None:
    # Target at 0.5 rad, so that its logit is cos 1; wrong answers on both sides of that.
    directions = torch.tensor([0.5, 0.9, 1.1])
    head = CurricularFace(2, 3, t_alpha=0.0)
    head.t.fill_(0.25)
    given_rows(head, torch.stack([directions.cos(), directions.sin()], dim=1))
    logits = head(torch.tensor([[7.0, 0.0]]), torch.tensor([0]))
    hard = math.cos(0.9) * (0.25 + math.cos(0.9))
    expected = 64 * torch.tensor([[math.cos(1.0), hard, math.cos(1.1)]])
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-4)
