"""Weights files: whole or absent, and refused in one sentence when they do not fit."""

from pathlib import Path

import pytest
import torch
from torch import nn

from qdgs_lightning.generators import ImplicitGenerator, VAEGenerator
from qdgs_lightning.weights import WeightsError, packaged_weights, resolve_weights
from qdgs_lightning.weights.files import load_weights, read_config, save_weights


def test_round_trip_is_half_precision(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    path = tmp_path / "new" / "module.safetensors"
    save_weights(module, path, {"sizes": [3, 2]})
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    load_weights(other, path)
    for name, value in module.state_dict().items():
        stored = value.half().float() if value.is_floating_point() else value
        assert torch.equal(other.state_dict()[name], stored)
    assert read_config(path, {"sizes"}) == {"sizes": [3, 2]}
    assert [file.name for file in path.parent.iterdir()] == ["module.safetensors"]


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.safetensors"
    save_weights(nn.Linear(3, 2), path)
    with pytest.raises(WeightsError, match="does not fit Linear"):
        load_weights(nn.Linear(4, 2), path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "module.safetensors"
    save_weights(nn.Linear(30, 20), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"module\.safetensors"):
        load_weights(nn.Linear(30, 20), path)
    with pytest.raises(WeightsError, match=r"module\.safetensors"):
        read_config(path, {"sizes"})


def test_everything_shipped_is_found_and_small() -> None:
    names = packaged_weights()
    assert {"shapes_clip", "shapes_generator_090", "shapes_annotator"} <= set(names)
    assert sum(resolve_weights(name).stat().st_size for name in names) <= 12e6


@pytest.mark.parametrize("generator", [VAEGenerator, ImplicitGenerator])
def test_weights_of_another_kind_are_refused(generator: type[nn.Module]) -> None:
    with pytest.raises(WeightsError, match="holds weights of another kind"):
        generator(weights="shapes_clip")
