"""Generators of which a file has the weights alone, by the names of three projects."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.generators.stylegan2 import CheckpointError, load_stylegan2, read_checkpoint
from tests.generators.stylegan2.parity import Parity
from tests.generators.stylegan2.test_rosinality import checkpoint

Weights = dict[str, Tensor]


def rosinality(parity: Parity) -> Weights:
    state = checkpoint(parity)["g_ema"]
    assert isinstance(state, dict)
    return {name: value for name, value in state.items() if "kernel" not in name}


def basicsr(parity: Parity) -> Weights:
    """Name weights as BasicSR's ``stylegan2_arch.py`` does; shapes are those of rosinality."""
    renamed = {}
    for name, value in rosinality(parity).items():
        first, *rest = name.split(".")
        match first:
            case "style":
                first = "style_mlp"
            case "input":
                first, rest = "constant_input", ["weight"]
            case "noises":
                rest = [rest[0].replace("_", "")]
            case "conv1" | "convs":
                first = f"style_{first}"
        path = ".".join([first, *rest]).replace(".noise.weight", ".weight")
        renamed[re.sub(r"(?<=\.)conv\.", "modulated_conv.", path)] = value
    return renamed


def official(parity: Parity) -> Weights:
    return dict(parity.weights)


def same_images(path: Path, parity: Parity, which: str = "G_ema") -> None:
    found = read_checkpoint(path, which=which)
    images = found.network.synthesis(parity.arrays["ws_mix"])
    torch.testing.assert_close(images, parity.arrays["img_mix_const"], atol=1e-4, rtol=0)
    ws = found.network.mapping(parity.arrays["z"], parity.labels)
    expected = parity.network().mapping(parity.arrays["z"], parity.labels)
    torch.testing.assert_close(ws, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("named", [official, rosinality, basicsr])
def test_images_are_those_of_the_same_weights(
    tmp_path: Path, named: Callable[[Parity], Weights]
) -> None:
    parity = Parity("sg2_res64")
    weights = {name: value.contiguous() for name, value in named(parity).items()}
    save_file(weights, path := tmp_path / "generator.safetensors")
    same_images(path, parity)
    torch.save({f"module.{name}": v for name, v in weights.items()}, path := tmp_path / "ddp.pt")
    same_images(path, parity)


@pytest.mark.parametrize("name", ["sg2_res32_cond", "sg2_res32_orig", "sg2_res32_resnet"])
def test_shapes_tell_classes_and_architecture(tmp_path: Path, name: str) -> None:
    parity = Parity(name)
    torch.save(official(parity), path := tmp_path / "generator.pt")
    same_images(path, parity)
    wanted = parity.network()
    found = load_stylegan2(path)
    assert found.mapping.c_dim == wanted.mapping.c_dim
    assert found.mapping.z_dim == wanted.mapping.z_dim


@pytest.mark.parametrize("entries", [("g_ema", "g"), ("params_ema", "params"), ("G_ema", "G")])
def test_averaged_weights_or_those_of_the_last_step(
    tmp_path: Path, entries: tuple[str, str]
) -> None:
    averaged, last = Parity("sg2_res32_orig"), Parity("sg2_res32_orig")
    last.weights["mapping.w_avg"] = averaged.weights["mapping.w_avg"] + 1
    path = tmp_path / "training.pt"
    content = dict(zip(entries, (official(averaged), official(last)), strict=True))
    torch.save({**content, "d": {"weight": torch.ones(3)}, "iteration": 7}, path)
    for which, parity in (("G_ema", averaged), ("G", last)):
        w_avg = load_stylegan2(path, which=which).mapping.w_avg
        assert torch.equal(w_avg, parity.weights["mapping.w_avg"])
    torch.save({entries[0]: content[entries[0]]}, path)
    with pytest.raises(
        CheckpointError, match=rf"averaged weights alone \({entries[0]}\); set which"
    ):
        load_stylegan2(path, which="G")
    torch.save({entries[1]: content[entries[1]]}, path)
    assert torch.equal(load_stylegan2(path).mapping.w_avg, last.weights["mapping.w_avg"])
    torch.save({"one": content[entries[0]], "two": content[entries[1]]}, path)
    with pytest.raises(CheckpointError, match="it holds generators in one, two; save the one"):
        load_stylegan2(path)


@pytest.mark.parametrize("named", [official, rosinality])
def test_noise_is_drawn_where_none_is_stored(
    tmp_path: Path, named: Callable[[Parity], Weights]
) -> None:
    parity = Parity("sg2_res64")
    without = {name: v for name, v in named(parity).items() if "noise_const" not in name}
    without = {name: v for name, v in without.items() if not name.startswith("noises")}
    torch.save(without, path := tmp_path / "generator.pt")
    network = load_stylegan2(path)
    again = load_stylegan2(path)
    noises = {n: v for n, v in network.state_dict().items() if n.endswith("noise_const")}
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in noises.items())
    drawn = torch.cat([value.flatten() for value in noises.values()])
    assert drawn.mean().abs() < 0.05
    assert (drawn.std() - 1).abs() < 0.05
    ws = parity.arrays["ws_mix"]
    expected = parity.network().synthesis(ws, noise_mode="none")
    torch.testing.assert_close(
        network.synthesis(ws, noise_mode="none"), expected, atol=1e-4, rtol=0
    )
    assert (network.synthesis(ws) - expected).abs().max() > 0.01


@pytest.mark.parametrize(
    ("named", "first"), [(official, "mapping.fc0.weight"), (rosinality, "style.1.weight")]
)
def test_a_network_with_classes_is_not_taken_without_their_embedding(
    tmp_path: Path, named: Callable[[Parity], Weights], first: str
) -> None:
    weights = named(Parity("sg2_res64"))
    weights[first] = torch.zeros(128, 128 + 128)  # noise, and an embedded class as long as a style
    torch.save({"g_ema": weights}, path := tmp_path / "generator.pt")
    with pytest.raises(CheckpointError, match="takes 256 numbers to styles of 128, as that of a"):
        StyleGAN2Generator(path).prepare()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"synthesis.b8.conv1.weight": None}, r"its resolutions are \[4, 16, 32, 64\]"),
        ({"mapping.fc0.weight": None}, "has no 'mapping.fc0.weight'"),
        ({"synthesis.b64.torgb.weight": None}, "has no 'synthesis.b64.torgb.weight'"),
        ({"synthesis.b8.conv0.extra": torch.ones(2)}, "it has synthesis.b8.conv0.extra, which"),
        ({"synthesis.b4.conv1.bias": None}, "it lacks synthesis.b4.conv1.bias"),
        ({"mapping.fc0.weight": torch.ones(3)}, "not enough values"),
    ],
)
def test_what_is_missing_or_not_known_is_named(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    weights = official(Parity("sg2_res64")) | changes
    torch.save({k: v for k, v in weights.items() if v is not None}, path := tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        load_stylegan2(path)
