"""Where the backbone is in a file, whose file it is, and what colours it takes."""

from pathlib import Path

import pytest
import torch

from qdgs_lightning.models import (
    BackboneError,
    MobileFaceNet,
    TimmBackbone,
    load_backbone_weights,
)
from tests.models.backbones import original_names
from tests.models.backbones.weight_files import embed, ir_file, iresnet_file, saved, small, state


@pytest.mark.parametrize(
    ("prefix", "ir", "format_name"),
    [
        ("", False, "arcface_torch"),
        ("module.", False, "arcface_torch"),
        ("net.", False, "CVLface"),
        ("model.net.", True, "CVLface"),
        ("net.module.", True, "CVLface"),
        ("model.", True, "AdaFace"),
        ("module.model.", True, "AdaFace"),
        ("backbone.", False, "qdgs-lightning"),
        ("backbone._orig_mod.", False, "qdgs-lightning"),
        ("teacher.", False, "unknown"),
    ],
)
def test_what_stands_before_the_names(
    tmp_path: Path, prefix: str, ir: bool, format_name: str
) -> None:
    weights = ir_file(prefix) if ir else iresnet_file(prefix)
    head = {"head.kernel": torch.ones(24, 7), "head.t": torch.zeros(1)} if prefix else {}
    path = saved({"state_dict": weights | head}, tmp_path / "weights.pt")
    backbone = small("ir" if ir else "iresnet")
    report = load_backbone_weights(
        backbone, path, color_order="rgb" if format_name == "unknown" else "auto"
    )
    assert report.format == format_name
    assert report.outside == tuple(head)
    assert len(report.matched) == len(weights)
    load_backbone_weights(
        plain := small("ir" if ir else "iresnet"),
        saved(ir_file() if ir else iresnet_file(), tmp_path / "plain.pt"),
        color_order=report.color_order,
    )
    assert torch.equal(embed(backbone), embed(plain))


@pytest.mark.parametrize(
    ("beside", "text", "expected"),
    [
        ("model.yaml", "name: ir18\ncolor_space: BGR\n", "bgr"),
        ("model.yaml", "color_space: 'RGB'\n", "rgb"),
        ("model.yaml", "name: ir18\n", "rgb"),
        ("other.yaml", "color_space: BGR\n", "rgb"),
        ("config.json", '{"conf": {"color_space": "BGR"}}', "bgr"),
        ("model.yaml", "color_space: GBR\n", "states the color_space 'GBR'"),
        ("model.yaml", "color_space: [\n", "cannot be read; mend it, or set color_order"),
        ("model.yaml", "- 1\n", "states the color_space None"),
    ],
)
def test_cvlface_says_beside_the_file_what_colours_it_takes(
    tmp_path: Path, beside: str, text: str, expected: str
) -> None:
    path = saved(ir_file("net."), tmp_path / "model.pt")
    (tmp_path / beside).write_text(text)
    if expected not in ("rgb", "bgr"):
        with pytest.raises(BackboneError, match=expected):
            load_backbone_weights(small("ir"), path)
        expected = "bgr"
        report = load_backbone_weights(small("ir"), path, color_order="bgr")
    else:
        report = load_backbone_weights(small("ir"), path)
    assert (report.format, report.color_order) == ("CVLface", expected)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (ir_file(), "does not say which order of colours"),
        (iresnet_file("teacher."), "does not say which order of colours"),
        (iresnet_file("features.module."), "is MagFace's"),
        (iresnet_file("module.features."), "is MagFace's"),
        (iresnet_file("a.") | iresnet_file("b."), "holds 2 networks .* 'a.', 'b.'; save"),
        (state(original_names.mobilefacenet()), "holds no IResNet but MobileFaceNet"),
        ({"weight": torch.ones(7, 24)}, "holds no IResNet, and its first weight is weight;"),
        ({}, "holds no tensors with names"),
        ([torch.ones(3)], "holds no tensors with names"),
        (torch.ones(3), "holds no tensors with names"),
        ({"state_dict": {"conv1.weight": [1.0]}}, "'conv1.weight', which is no tensor"),
        ({"epoch": 3, "weights": {}}, "holds no weights: its entries are epoch, weights"),
        ({"epoch": 3, "conv1.weight": torch.ones(1)}, "'epoch', which is no tensor"),
        ({"a": {"w": torch.ones(1)}, "b": 3}, r"first weight is w \(its weights are in 'a'\)"),
    ],
)
def test_files_of_other_things(tmp_path: Path, weights: object, message: str) -> None:
    path = saved(weights, tmp_path / "weights.pt")
    for partial in (False, True):
        with pytest.raises(BackboneError, match=message):
            load_backbone_weights(small(), path, allow_partial=partial)


def test_ours_is_found_beside_another(tmp_path: Path) -> None:
    weights = iresnet_file("backbone.") | {f"teacher.{k}": v + 1 for k, v in iresnet_file().items()}
    report = load_backbone_weights(backbone := small(), saved(weights, tmp_path / "both.pt"))
    assert report.format == "qdgs-lightning"
    expected = weights["backbone.fc.weight"]
    assert torch.equal(backbone.state_dict()["fc.weight"], expected)
    assert len(report.outside) == len(weights) // 2


def test_files_of_other_backbones(tmp_path: Path) -> None:
    path = saved(iresnet_file(), tmp_path / "iresnet.pt")
    with pytest.raises(BackboneError, match="holds no MobileFaceNet but IResNet"):
        load_backbone_weights(MobileFaceNet(image_size=32), path)
    timm = TimmBackbone(model_name="test_vit", embedding_dim=24, image_size=32)
    with pytest.raises(BackboneError, match="holds no TimmBackbone but IResNet"):
        load_backbone_weights(timm, path)
    path = saved(timm.state_dict(), tmp_path / "timm.pt")
    with pytest.raises(BackboneError, match="cannot be read as bgr"):
        load_backbone_weights(timm, path, color_order="bgr")
    with pytest.raises(BackboneError, match="give auto, rgb or bgr"):
        load_backbone_weights(timm, path, color_order="gbr")  # type: ignore[arg-type]
