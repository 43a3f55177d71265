"""Which entry of a checkpoint is taken: the only one that fits, or the one that is named."""

from pathlib import Path

import pytest
import torch
from torch import nn

from qdgs_lightning.models import BackboneError, load_backbone_weights
from qdgs_lightning.tasks import FaceRecognizer
from tests.models.backbones.weight_files import embed, ir_file, iresnet_file, saved, small


@pytest.mark.parametrize(
    "entry",
    ["state_dict", "state_dict_backbone", "net_state_dict", "model", "backbone", "ema", "net.ema"],
)
def test_the_only_entry_that_fits_is_taken(tmp_path: Path, entry: str) -> None:
    weights = iresnet_file("module.")
    content: object = weights
    for name in reversed(entry.split(".")):
        content = {
            "epoch": 3,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(3), "step": torch.ones(1)}}},
            "head": {"weight": torch.ones(7, 24)},
            name: content,
        }
    backbone = small()
    report = load_backbone_weights(backbone, saved(content, tmp_path / "checkpoint.pth"))
    assert report.format == "arcface_torch"
    assert torch.equal(backbone.state_dict()["fc.weight"], weights["module.fc.weight"])


def test_one_of_several_has_to_be_named(tmp_path: Path) -> None:
    latest = iresnet_file()
    averaged = {name: value + 1 for name, value in latest.items()}
    path = saved({"state_dict": latest, "state_dict_ema": averaged}, tmp_path / "a.pth")
    with pytest.raises(
        BackboneError, match=r"in 2 entries; say .*init_entry.*'state_dict', 'state_dict_ema'\.$"
    ):
        load_backbone_weights(small(), path)
    for entry, weights in (("state_dict", latest), ("state_dict_ema", averaged)):
        load_backbone_weights(backbone := small(), path, entry=entry)
        assert torch.equal(backbone.state_dict()["fc.weight"], weights["fc.weight"])
    with pytest.raises(BackboneError, match=r"no weights in an entry 'state_dict_em' \(did you"):
        load_backbone_weights(small(), path, entry="state_dict_em")


def test_averages_of_lightning_are_its_state_dict(tmp_path: Path) -> None:
    averaged = iresnet_file("backbone.")
    latest = {name: value + 1 for name, value in averaged.items()}
    content = {"state_dict": averaged, "current_model_state": latest, "averaging_state": {}}
    load_backbone_weights(backbone := small(), saved(content, tmp_path / "a.ckpt"))
    assert torch.equal(backbone.state_dict()["fc.bias"], averaged["backbone.fc.bias"])


def test_entries_are_named_where_none_fits(tmp_path: Path) -> None:
    content = {"model": {"a.weight": torch.ones(1)}, "ema": {"a.weight": torch.ones(1)}, "step": 3}
    path = saved(content, tmp_path / "other.pth")
    with pytest.raises(
        BackboneError, match=r"no IResNet, .* \(its weights are in 'model', 'ema'\)"
    ):
        load_backbone_weights(small(), path)


def test_a_task_says_what_its_file_cannot(tmp_path: Path) -> None:
    content = {"model": ir_file(), "ema": {name: value + 1 for name, value in ir_file().items()}}
    path = saved(content, tmp_path / "tface.pth")
    task = FaceRecognizer(
        backbone=small("ir"), init_from=path, init_entry="model", color_order="bgr"
    )
    report = task.load_initial_weights()
    assert (report.format, report.color_order) == ("IR", "bgr")
    load_backbone_weights(expected := small("ir"), path, entry="model", color_order="bgr")
    assert torch.equal(embed(task.backbone), embed(expected))


def test_graphs_of_onnx_are_told_from_weights(tmp_path: Path) -> None:
    path = tmp_path / "w600k_r50.onnx"
    path.write_bytes(b"\x08\x06\x12\x07pytorch")
    with pytest.raises(BackboneError, match=r"is a graph of ONNX, .* bring the \.pth file"):
        load_backbone_weights(small(), path)


def test_any_module_may_be_a_backbone(tmp_path: Path) -> None:
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    path = saved({"model": theirs.state_dict()}, tmp_path / "own.pth")
    ours = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    load_backbone_weights(ours, path)  # type: ignore[arg-type]
    assert torch.equal(ours.state_dict()["1.weight"], theirs.state_dict()["1.weight"])
