"""Checkpoints of rosinality's code: the weights of a known network under its names."""

import argparse
import io
import os
import re
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qdgs_lightning.generators.stylegan2 import CheckpointError, load_stylegan2, read_checkpoint
from tests.generators.stylegan2.parity import Parity
from tests.generators.stylegan2.test_attacks import Reduced


def their_name(name: str) -> str | None:
    """Translate an official name, by the table in their convert_weight.py."""
    if found := re.fullmatch(r"mapping\.fc(\d)\.(\w+)", name):
        return f"style.{int(found[1]) + 1}.{found[2]}"
    if name == "synthesis.b4.const":
        return "input.input"
    found = re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(.+)", name)
    if found is None or found[3] == "resample_filter":
        return None
    level = int(found[1]).bit_length() - 3  # 0 for 4 pixels
    if found[2] == "torgb":
        owner = f"to_rgbs.{level - 1}" if level else "to_rgb1"
    else:
        index = 2 * (level - 1) + int(found[2] == "conv1")
        if found[3] == "noise_const":
            return f"noises.noise_{index + 1}"
        owner = f"convs.{index}" if level else "conv1"
    rest = {
        "weight": "conv.weight",
        "affine.weight": "conv.modulation.weight",
        "affine.bias": "conv.modulation.bias",
        "noise_strength": "noise.weight",
        "bias": "bias" if found[2] == "torgb" else "activate.bias",
    }
    return f"{owner}.{rest[found[3]]}"


def their_shape(name: str, value: Tensor) -> Tensor:
    """Add the dimensions that their code has."""
    if name.startswith("noises"):
        return value[None, None]
    if name in ("input.input",) or name.endswith("conv.weight"):
        return value[None]
    if name.endswith("noise.weight"):
        return value.reshape(1)
    return value.reshape(1, -1, 1, 1) if re.match(r"to_rgbs?\w*\.(\d+\.)?bias", name) else value


def checkpoint(parity: Parity) -> dict[str, object]:
    """Return what their conversion of official files saves; their training has no latent_avg."""
    named = {their_name(name): value for name, value in parity.weights.items()}
    state = {name: their_shape(name, value) for name, value in named.items() if name}
    state["convs.0.conv.blur.kernel"] = torch.ones(4, 4)
    options = argparse.Namespace(size=64)
    average = parity.weights["mapping.w_avg"]
    return {"g_ema": state, "latent_avg": average, "args": options, "g_optim": {"state": {}}}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["sg2_res64", "sg2_res256"])
def test_images_are_those_of_the_same_weights(tmp_path: Path, name: str, zipped: bool) -> None:
    parity = Parity(name)
    path = tmp_path / "550000.pt"
    torch.save(checkpoint(parity), path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    assert found.kind == "rosinality"
    images = found.network.synthesis(parity.arrays["ws_mix"])
    torch.testing.assert_close(images, parity.arrays["img_mix_const"], atol=1e-4, rtol=0)
    ws = found.network.mapping(parity.arrays["z"], None, 0.7)
    torch.testing.assert_close(ws, parity.arrays["ws_psi0.7"], atol=1e-5, rtol=0)


def test_what_is_missing_or_not_known_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole = checkpoint(Parity("sg2_res64"))
    state = dict(whole["g_ema"])  # type: ignore[call-overload]
    for change, message in (
        ({"g_ema": {**state, "extra.weight": torch.ones(1)}}, r"has extra\.weight, which"),
        ({"g_ema": {k: v for k, v in state.items() if k != "to_rgb1.bias"}}, "lacks .*torgb.bias"),
        ({"g_ema": {**state, "convs.0.noise.weight": torch.tensor([torch.nan])}}, "not finite"),
        ({"g_ema": 3}, r"no StyleGAN2 generator .* \(but g_ema, latent_avg, args and so on\)"),
    ):
        torch.save({**whole, **change}, path)
        with pytest.raises(CheckpointError, match=message):
            load_stylegan2(path)
    torch.save({key: value for key, value in whole.items() if key != "g_ema"}, path)
    with pytest.raises(CheckpointError, match=r"generator by the names of NVIDIA, rosinality or"):
        load_stylegan2(path)


def test_where_training_kept_no_average_it_is_sampled(tmp_path: Path) -> None:
    parity, path = Parity("sg2_res64"), tmp_path / "550000.pt"
    content = checkpoint(parity)
    del content["latent_avg"]
    torch.save(content, path)
    found = read_checkpoint(path)
    z = torch.randn(20_000, found.network.mapping.z_dim, generator=torch.Generator().manual_seed(1))
    w = parity.network().mapping(z)[:, 0]
    error = (found.network.mapping.w_avg - w.mean(0)) / w.std(0)
    assert error.abs().max() < 0.05  # five standard errors
    torch.testing.assert_close(found.w_std, w.std(0), rtol=0.05, atol=0)
    same = found.network.synthesis(parity.arrays["ws_mix"])
    torch.testing.assert_close(same, parity.arrays["img_mix_const"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_of_it_is_executed(tmp_path: Path, zipped: bool) -> None:
    marker, path = tmp_path / "marker", tmp_path / "a.pt"
    content = {"g_ema": Reduced(os.system, f"touch {marker}")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="asks for"):
        load_stylegan2(path)
    assert not marker.exists()


def test_compressed_bombs_are_refused(tmp_path: Path) -> None:
    path, buffer = tmp_path / "a.pt", io.BytesIO()
    torch.save(checkpoint(Parity("sg2_res64")), buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry), compress_type=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        load_stylegan2(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_refused(tmp_path: Path, zipped: bool) -> None:
    path, buffer = tmp_path / "a.pt", io.BytesIO()
    torch.save(checkpoint(Parity("sg2_res64")), buffer, _use_new_zipfile_serialization=zipped)
    data = buffer.getvalue()
    for end in range(5, len(data), len(data) // 40):
        path.write_bytes(data[:end])
        with pytest.raises(CheckpointError):
            load_stylegan2(path)
