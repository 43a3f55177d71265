"""What an annotator says of a pool, and what follows when its errors are known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from qdgs_lightning.audits import corrected
from qdgs_lightning.domains.shapes import ShapesDataset
from qdgs_lightning.domains.shapes.study_pools import (
    JUNK,
    audit,
    classify,
    confusion,
    draw_contact_sheet,
)


class _ColourOnly(nn.Module):
    """Calls everything a square, and red or blue by the mean of the two channels."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        red, _, blue = images.mean((2, 3)).unbind(1)
        shapes = torch.tensor([0.0, 1.0, 0.0]).expand(len(images), -1)
        return shapes, torch.stack([red, blue, torch.zeros_like(red)], dim=1)


@given(st.lists(st.integers(0, 50), min_size=5, max_size=5).filter(sum), st.integers(0, 20))
def test_correction_undoes_known_errors(shares: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 10, (5, 5), generator=generator) + 60 * torch.eye(5).long()
    true = torch.tensor(shares).double() / sum(shares)
    said = (counts.double() / counts.sum(1, keepdim=True)).T @ true
    torch.testing.assert_close(corrected(said, counts), true, atol=1e-9, rtol=0)


def test_groups_are_shape_and_colour() -> None:
    data = ShapesDataset(40, bias=0.5, seed=0)
    said = classify(_ColourOnly(), data.images.float() / 255)
    assert torch.equal(said, 2 + data.colours)


def test_confusion_counts_truth_by_word() -> None:
    counts = confusion(_ColourOnly(), size=300)
    assert int(counts.sum()) == 300
    assert int(counts[JUNK].sum()) == pytest.approx(60, abs=30)
    assert counts[:4, :2].eq(0).all()  # never says triangle
    assert counts[0, 3] == counts[2, 3] == 0  # never takes clear red for blue


def test_audit_of_a_perfect_annotator_counts() -> None:
    said = torch.tensor([0, 0, 1, 2, 3, 3, JUNK, JUNK])
    groups = torch.tensor([0, 1, 1, 2, 3, 3, 0, 1])
    result = audit(said, groups, 100 * torch.eye(5).long())
    assert result.size == 8
    assert result.confusion[1] == (0, 100, 0, 0, 0)
    assert result.junk == pytest.approx(0.25)
    assert result.agreement == pytest.approx(5 / 6)
    assert result.groups == pytest.approx((2 / 6, 1 / 6, 1 / 6, 2 / 6))
    assert result.groups_uncorrected == pytest.approx(result.groups)


def test_contact_sheet_frames_what_is_doubted() -> None:
    groups = torch.arange(4).repeat(3)
    said = groups.clone()
    said[4] = JUNK
    figure = draw_contact_sheet(torch.rand(12, 3, 8, 8), groups, said)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 12
    framed = [axes.spines["left"].get_linewidth() > 1 for axes in shown]
    assert framed == [index == 1 for index in range(12)]
