"""Files that people hold are read exactly, kept safely, and refused with a reason."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qdgs_lightning.generators.stylegan2 import (
    CheckpointError,
    load_stylegan2,
    read_checkpoint,
    save_stylegan2,
)
from tests.generators.stylegan2.official_files import module, official_file
from tests.generators.stylegan2.parity import NAMES, Parity


def written(folder: Path, data: bytes, name: str = "network.pkl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("ordered", [False, True])
def test_official_pickles_of_all_protocols(tmp_path: Path, protocol: int, ordered: bool) -> None:
    parity = Parity("sg2_res32_cond")
    path = written(tmp_path, official_file(parity, protocol=protocol, ordered=ordered))
    weights = load_stylegan2(path).state_dict()
    assert weights.keys() == parity.weights.keys()
    assert all(torch.equal(weights[name], value) for name, value in parity.weights.items())


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_is_in_the_file(tmp_path: Path, name: str) -> None:
    parity = Parity(name)
    network = load_stylegan2(written(tmp_path, official_file(parity)))
    expected = parity.arrays["img_const"]
    ws = network.mapping(parity.arrays["z"], parity.labels, 0.7)[: len(expected)]
    torch.testing.assert_close(network.synthesis(ws), expected, atol=1e-4, rtol=0)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_either_network_of_a_file(tmp_path: Path) -> None:
    averaged, last = Parity("sg2_res32_orig"), Parity("sg2_res32_orig")
    last.weights = {name: value + 1 for name, value in last.weights.items()}
    path = written(tmp_path, official_file(averaged, G=module(last)))
    for which, parity in (("G_ema", averaged), ("G", last)):
        network = load_stylegan2(path, which=which)
        assert torch.equal(network.mapping.w_avg, parity.weights["mapping.w_avg"])
    with pytest.raises(CheckpointError, match="which is 'D'; give 'G_ema' or 'G'"):
        load_stylegan2(path, which="D")


def test_layers_without_noise(tmp_path: Path) -> None:
    parity = Parity("sg2_res32_orig")
    network = module(parity)
    block = network.state["_modules"]["synthesis"].state["_modules"]["b8"]
    layer = block.state["_modules"]["conv1"].state
    layer.update(use_noise=False, resolution=8)
    del layer["_parameters"]["noise_strength"], layer["_buffers"]["noise_const"]
    loaded = load_stylegan2(written(tmp_path, official_file(parity, G=network)), which="G")
    parity.weights["synthesis.b8.conv1.noise_strength"] = torch.zeros([])
    ws = parity.arrays["ws_mix"]
    torch.testing.assert_close(loaded.synthesis(ws), parity.network().synthesis(ws))


def test_a_kept_network_is_the_same(tmp_path: Path) -> None:
    parity = Parity("sg2_res32_resnet")
    official = read_checkpoint(written(tmp_path, official_file(parity)))
    save_stylegan2(official, tmp_path / "new" / "network.safetensors")
    kept = read_checkpoint(tmp_path / "new" / "network.safetensors")
    assert kept.config == official.config
    assert kept.trained_on == official.trained_on == "x.zip"
    ws = parity.arrays["ws_mix"]
    assert torch.equal(kept.network.synthesis(ws), official.network.synthesis(ws))


def test_what_could_not_be_read_again_is_not_kept(tmp_path: Path) -> None:
    official = read_checkpoint(written(tmp_path, official_file(Parity("sg2_res32_resnet"))))
    narrow = {**official.config, "synthesis_kwargs": {"channel_base": 512}}
    with pytest.raises(CheckpointError, match="its synthesis has other options"):
        save_stylegan2(replace(official, config=narrow), tmp_path / "network.safetensors")
    assert not (tmp_path / "network.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"it lacks synthesis\.b8\.conv1\.bias"),
        ("extra", r"it has synthesis\.b8\.conv1\.extra, which the network has not"),
        ("misshapen", r"synthesis\.b8\.conv1\.bias has the shape \(3,\) instead of \(32,\)"),
        ("infinite", r"synthesis\.b8\.conv1\.bias holds numbers that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change: str, message: str) -> None:
    parity = Parity("sg2_res32_orig")
    name = "synthesis.b8.conv1.bias"
    match change:
        case "missing":
            del parity.weights[name]
        case "extra":
            parity.weights["synthesis.b8.conv1.extra"] = torch.zeros(2)
        case "misshapen":
            parity.weights[name] = torch.zeros(3)
        case "infinite":
            parity.weights[name][5] = torch.inf
    with pytest.raises(CheckpointError, match=message):
        load_stylegan2(written(tmp_path, official_file(parity)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"RIFF some sound", "neither a pickle nor a file of torch or safetensors"),
        (b"\x80\x04}.", "holds no network G_ema"),
    ],
)
def test_files_of_another_kind_are_told_apart(tmp_path: Path, data: bytes, message: str) -> None:
    path = written(tmp_path, data)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_stylegan2(path)
    assert str(path) in str(caught.value)


def test_tensorflow_s_pickle_is_refused_with_what_to_do(tmp_path: Path) -> None:
    # PROTO 3, GLOBAL, EMPTY_TUPLE, NEWOBJ: how its tuple of networks begins.
    data = b"\x80\x03cdnnlib.tflib.network\nNetwork\nq\x00)\x81q\x01}q\x02b."
    with pytest.raises(CheckpointError, match=r"TensorFlow version .* convert it with legacy\.py"):
        load_stylegan2(written(tmp_path, data))


def test_places_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        load_stylegan2(tmp_path / "none.pkl")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_stylegan2(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = written(tmp_path, official_file(Parity("sg2_res32_orig")))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # who may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(CheckpointError, match=r"cannot be read \(.*Permission denied"):
            load_stylegan2(path)
    finally:
        os.seteuid(user)


def test_reading_a_large_file_is_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # takes any stream for a terminal
    monkeypatch.setenv("TERM", "xterm")
    path = written(tmp_path, official_file(Parity("sg2_res32_orig")))
    load_stylegan2(path)
    assert capsys.readouterr().err.strip() == ""
    os.truncate(path, 101 * 10**6)  # a hole of the file system behind the pickle
    load_stylegan2(path)
    shown = capsys.readouterr().err
    assert "Reading network.pkl" in shown
    assert "101.0 MB of 101.0 MB" in shown


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no StyleGAN2 generator .* \(but a and"):
        load_stylegan2(tmp_path / "a.safetensors")
