"""The fixed warp against published numbers, and against blobs that it moves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from qdgs_lightning.datasets.similarity import ARCFACE_POINTS, similarity
from qdgs_lightning.generators.stylegan2 import StyleGAN2Error, StyleGAN2Generator
from qdgs_lightning.identities import FaceAligner
from qdgs_lightning.identities.aligner import FFHQ_POINTS, warp
from tests.generators.stylegan2.official_files import official_file
from tests.generators.stylegan2.parity import Parity


def blob(x: float, y: float, side: int) -> Tensor:
    """Draw a Gaussian whose centre is at a pixel position."""
    along = torch.arange(side, dtype=torch.float32)
    width = side / 64
    across = torch.exp(-(((along - x) / width) ** 2) / 2)
    down = torch.exp(-(((along - y) / width) ** 2) / 2)
    return (down[:, None] * across)[None, None]


def centre(image: Tensor) -> tuple[float, float]:
    """Return where the mass of an image lies, as x and y."""
    mass = image[0, 0] / image.sum()
    along = torch.arange(len(mass), dtype=torch.float32)
    return float((mass.sum(0) * along).sum()), float((mass.sum(1) * along).sum())


def test_the_matrix_is_the_one_that_others_computed() -> None:
    # By Umeyama's algorithm with a singular value decomposition, for 256 and 112 pixels.
    expected = [[0.7489129, -0.0001141, -0.0028090], [0.0001141, 0.7489129, -0.0168191]]
    np.testing.assert_allclose(warp().numpy(), expected, atol=2e-6)


def test_a_similarity_is_recovered() -> None:
    points = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    moved = points @ torch.tensor([[0.0, 2.0], [-2.0, 0.0]]) + torch.tensor([3.0, -1.0])
    a, b = similarity(points, moved)
    assert a == pytest.approx(2j, abs=1e-6)
    assert b == pytest.approx(3 - 1j, abs=1e-6)


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_landmarks_end_where_the_template_has_them(side: int) -> None:
    residuals = []
    for (x, y), wanted in zip(FFHQ_POINTS, ARCFACE_POINTS, strict=True):
        image = blob((x + 0.5) * side / 512 - 0.5, (y + 0.5) * side / 512 - 0.5, side)
        residuals.append(np.hypot(*np.subtract(centre(FaceAligner()(image)), wanted)))
    np.testing.assert_allclose(residuals, [0.99, 1.05, 2.11, 2.42, 2.46], atol=0.02)


def test_range_and_channels_are_kept_and_gradients_pass() -> None:
    aligner = FaceAligner()
    ones = torch.ones(2, 4, 64, 64, requires_grad=True)
    crops = aligner(ones)
    assert crops.shape == (2, 4, 112, 112)
    torch.testing.assert_close(crops, torch.ones(2, 4, 112, 112))
    crops.sum().backward()
    assert ones.grad is not None
    assert (ones.grad >= 0).all()
    assert float(ones.grad.sum()) == pytest.approx(crops.numel(), rel=1e-4)


def test_fine_patterns_become_grey_and_no_other_pattern() -> None:
    board = (torch.arange(1024)[:, None] + torch.arange(1024)) % 2
    crops = FaceAligner()(board.float().expand(1, 1, -1, -1))
    assert (crops - 0.5).abs().max() < 0.05


def test_only_networks_of_ffhq_are_aligned(tmp_path: Path) -> None:
    data = official_file(Parity("sg2_res32_orig"))
    for name, path, force, accepted in (
        ("stylegan2-ffhq-256x256.pkl", "x.zip", False, True),
        ("stylegan2-ffhqu-256x256.pkl", "x.zip", False, False),
        ("stylegan2-metfaces.pkl", "x.zip", False, False),
        ("stylegan2-metfaces.pkl", "x.zip", True, True),
        ("mine.pkl", "/data/ffhq-256x256.zip", False, True),
    ):
        (tmp_path / name).write_bytes(
            data if path == "x.zip" else official_file(Parity("sg2_res32_orig"), trained_on=path)
        )
        generator = StyleGAN2Generator(tmp_path / name)
        generator.prepare()
        if accepted:
            assert FaceAligner.of(generator, force=force).size == 112
        else:
            with pytest.raises(StyleGAN2Error, match=r"Nothing says that .* trained on FFHQ"):
                FaceAligner.of(generator)


def test_a_crop_has_pixels() -> None:
    with pytest.raises(StyleGAN2Error, match="size is 0"):
        FaceAligner(size=0)
