"""Identity edits: what a file holds, and what NumPy finds to vary most in a network's layers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from qdgs_lightning.generators import CheckpointError, StyleGAN2Generator
from qdgs_lightning.generators.stylegan2 import StyleGAN2Error
from qdgs_lightning.identities import FileEdits, PrincipalEdits
from tests.generators.stylegan2.official_files import official_file
from tests.generators.stylegan2.parity import Parity

STYLES, WIDTH = 10, 128
# Which style drives which layer of a network of 64 pixels.
AFFINE = {
    "b4.conv1": 0, "b4.torgb": 1,
    "b8.conv0": 1, "b8.conv1": 2, "b8.torgb": 3,
    "b16.conv0": 3, "b16.conv1": 4, "b16.torgb": 5,
    "b32.conv0": 5, "b32.conv1": 6, "b32.torgb": 7,
    "b64.conv0": 7, "b64.conv1": 8, "b64.torgb": 9,
}  # fmt: skip


def made(folder: Path, latent_space: str = "w+") -> StyleGAN2Generator:
    path = folder / "network.pkl"
    path.write_bytes(official_file(Parity("sg2_res64")))
    generator = StyleGAN2Generator(path, latent_space=latent_space)  # type: ignore[arg-type]
    generator.prepare()
    return generator


@pytest.mark.parametrize("shape", [(9, STYLES * WIDTH), (3, STYLES, WIDTH), (2, WIDTH)])
@pytest.mark.parametrize("ending", ["pt", "npy", "safetensors"])
def test_files(tmp_path: Path, shape: tuple[int, ...], ending: str) -> None:
    expected = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    path = tmp_path / f"edits.{ending}"
    match ending:
        case "pt":
            torch.save(expected, path)
        case "npy":
            np.save(path, expected.numpy())
        case "safetensors":
            save_file({"edits": expected}, path)
    rows = FileEdits(path).rows(made(tmp_path))
    assert rows.shape == (len(expected), STYLES, WIDTH)
    of_all = expected.reshape(len(expected), -1, WIDTH)
    for layer in range(STYLES):
        assert torch.equal(rows[:, layer], of_all[:, layer % of_all.shape[1]])


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    generator = made(tmp_path)
    path = tmp_path / "edits.pt"
    with pytest.raises(CheckpointError, match="There is no file"):
        FileEdits(path).rows(generator)
    unfit: list[tuple[object, str]] = [
        (torch.zeros(9, 7168), r"shape \(9, 7168\); .* needs \[a, 1280\], \[a, 10, 128\] or"),
        (torch.zeros(0, 1280), r"shape \(0, 1280\)"),
        (torch.full((9, 1280), torch.nan), "not finite"),
        ({"edits": torch.zeros(9, 1280)}, "holds a dict; give a file with a tensor"),
        (StyleGAN2Error, "holds no single array"),
    ]
    for content, message in unfit:
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=message):
            FileEdits(path).rows(generator)
    for ending in ("pt", "npy", "safetensors"):
        (tmp_path / f"damaged.{ending}").write_bytes(b"nothing of the kind")
        with pytest.raises(CheckpointError, match="holds no single array"):
            FileEdits(tmp_path / f"damaged.{ending}").rows(generator)
    with pytest.raises(CheckpointError, match=r"unknown kind; give a \.pt"):
        FileEdits(tmp_path / "network.pkl").rows(generator)


def components_by_numpy(latents: Tensor, styles: Tensor) -> Tensor:
    """Return by how much latents change with each principal component of styles, largest first."""
    centred = (styles - styles.mean(0)).double().numpy()
    left, _, _ = np.linalg.svd(centred, full_matrices=False)
    scores = left * np.sqrt(len(latents) - 1)  # one standard deviation is one
    slopes, *_ = np.linalg.lstsq(scores[:, :4], latents.double().numpy(), rcond=None)
    return torch.from_numpy(slopes).float()


@pytest.mark.parametrize("latent_space", ["w", "w+"])
def test_principal_components_of_either_kind_of_layer(tmp_path: Path, latent_space: str) -> None:
    generator = made(tmp_path, latent_space)
    rows = PrincipalEdits(number=13, strength=2.0, seed=3).rows(generator)
    assert rows.shape == (13, STYLES, WIDTH)
    assert not rows[0].any()
    synthesis = generator.network.synthesis
    samples = generator.sample_latents(10_000, torch.Generator().manual_seed(3))
    latents = generator.layered(samples)[:, 0]
    w = generator.network.mapping.w_avg + generator.w_std * latents
    for offset, layers in ((1, slice(0, 3)), (3, slice(3, 7)), (5, slice(7, 10))):
        driven = [name for name in AFFINE if any(AFFINE[name] == n for n in range(10)[layers])]
        styles = torch.cat([synthesis.get_submodule(f"{name}.affine")(w) for name in driven], dim=1)
        slopes = components_by_numpy(latents, styles)
        for row, slope in ((offset, slopes[0]), (offset + 6, slopes[1])):
            assert torch.equal(rows[row], -rows[row + 1])
            untouched = torch.ones(STYLES, dtype=torch.bool)
            untouched[layers] = False
            assert not rows[row, untouched].any()
            change = rows[row, layers] / 2.0
            assert torch.equal(change, change[:1].expand_as(change))
            sign = torch.sign(change[0] @ slope)
            torch.testing.assert_close(sign * change[0], slope, atol=2e-3, rtol=0)


def test_edits_make_several_images_of_a_latent(tmp_path: Path) -> None:
    for latent_space in ("w", "w+"):
        generator = made(tmp_path, latent_space)
        latents = generator.sample_latents(2, torch.Generator().manual_seed(0))
        edits = PrincipalEdits(number=3).rows(generator)
        images = generator((generator.layered(latents)[:, None] + edits).flatten(0, 1))
        assert images.shape == (6, 3, 64, 64)
        torch.testing.assert_close(images[::3], generator(latents))
        changed = (images.unflatten(0, (2, 3))[:, 1:] - generator(latents)[:, None]).abs()
        assert changed.flatten(2).mean(2).min() > 0.001


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StyleGAN2Error, match="number is 0"):
        PrincipalEdits(number=0)
    with pytest.raises(StyleGAN2Error, match="strength is nan"):
        PrincipalEdits(strength=float("nan"))
    with pytest.raises(StyleGAN2Error, match="has 769 changes at most"):
        PrincipalEdits(number=770).rows(made(tmp_path))
