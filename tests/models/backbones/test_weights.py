"""Weights of other projects in our backbones: their embeddings, their formats, and refusals."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import lightning
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from qdgs_lightning.models import (
    Backbone,
    BackboneError,
    MobileFaceNet,
    TimmBackbone,
    create_backbone,
    load_backbone_weights,
)
from tests.models.backbones import original_names
from tests.models.backbones.filled import fingerprint
from tests.models.backbones.weight_files import (
    embed,
    images,
    ir_file,
    iresnet_file,
    saved,
    small,
    state,
    wholly,
)

DATA = Path(__file__).parents[2] / "data" / "backbones" / "by_originals.json"
BY_ORIGINALS = json.loads(DATA.read_text())
LAYERS = {
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 14, 3),
    "100": (3, 13, 30, 3),
    "101": (3, 13, 30, 3),
}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Give a place for a large file, and clear it: pytest keeps what tests leave."""
    path = tmp_path / "weights.pt"
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", BY_ORIGINALS)
def test_embeddings_are_those_of_the_original_code(name: str, file: Path) -> None:
    truth = BY_ORIGINALS[name]
    project, _, ours = name.rpartition(" ")
    layers = LAYERS.get(ours.rpartition("_")[2].removeprefix("iresnet"), ())
    if ours == "mobilefacenet":
        shapes = original_names.mobilefacenet()
    elif project:
        shapes = original_names.ir(layers, squeeze_excitation="se" in ours)
    else:
        shapes = original_names.iresnet(layers)
    assert len(shapes) == truth["num_weights"]
    assert fingerprint(shapes) == truth["fingerprint"]

    prefix = {"adaface": "model.", "cvlface": "net."}.get(project, "")
    content: object = state(shapes, prefix)
    if project == "adaface":
        content = {"state_dict": content}
    with torch.device("meta"):
        backbone = create_backbone(ours).eval()
    backbone.to_empty(device="cpu")  # without the time that random numbers take
    report = load_backbone_weights(backbone, saved(content, file))
    assert report.format.lower() == project or report.format == "arcface_torch"
    assert report.color_order == ("bgr" if project == "adaface" else "rgb")
    assert report.matched
    assert wholly(report)
    assert report.outside == ()

    embeddings = embed(backbone, images(112))
    expected = torch.tensor(truth["embeddings"])
    size = expected.square().mean().sqrt().item()
    torch.testing.assert_close(embeddings[:, :16], expected, atol=2e-5 * size, rtol=2e-5)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.tensor(truth["norms"]))


def test_weights_of_bgr_networks_take_rgb_afterwards(tmp_path: Path) -> None:
    path = saved({"state_dict": ir_file("model.")}, tmp_path / "a.ckpt")
    turned, as_is = small("ir"), small("ir")
    assert load_backbone_weights(turned, path).color_order == "bgr"
    assert load_backbone_weights(as_is, path, color_order="rgb").color_order == "rgb"
    torch.testing.assert_close(embed(turned), embed(as_is, images().flip(1)))
    assert not torch.allclose(embed(turned), embed(as_is), rtol=1e-3)
    mbf = MobileFaceNet(image_size=112).eval()
    path = saved(state(original_names.mobilefacenet()), tmp_path / "mbf.pt")
    load_backbone_weights(mbf, path)
    expected = embed(mbf, images(112).flip(1))
    load_backbone_weights(mbf, path, color_order="bgr")
    torch.testing.assert_close(embed(mbf, images(112)), expected)


class Recognizer(lightning.LightningModule):
    """As our tasks keep a backbone and a head."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(24, 7)


@pytest.mark.parametrize("kind", ["iresnet", "ir", "timm"])
@pytest.mark.parametrize("compiled", [False, True])
def test_our_own_trainings(tmp_path: Path, kind: str, compiled: bool) -> None:
    def build() -> Backbone:
        if kind == "timm":
            return TimmBackbone(model_name="test_vit", embedding_dim=24, image_size=32).eval()
        return small(kind)

    trained = build()
    whole = torch.compile(trained, backend="eager") if compiled else trained
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(Recognizer(whole))  # type: ignore[arg-type]
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    backbone = build()
    filled = backbone if compiled else torch.compile(backbone, backend="eager")
    report = load_backbone_weights(filled, tmp_path / "last.ckpt")  # type: ignore[arg-type]
    assert (report.format, report.color_order) == ("qdgs-lightning", "rgb")
    assert report.outside == ("head.weight", "head.bias")
    assert torch.equal(embed(backbone), embed(trained))

    save_file(trained.state_dict(), tmp_path / "plain.safetensors")
    report = load_backbone_weights(again := build(), tmp_path / "plain.safetensors")
    assert report.format == ("arcface_torch" if kind == "iresnet" else "qdgs-lightning")
    assert torch.equal(embed(again), embed(trained))


def test_ir_weights_fit_an_iresnet_exactly_and_come_back(tmp_path: Path) -> None:
    path = saved(ir_file("net."), tmp_path / "model.pt")
    load_backbone_weights(ir := small("ir"), path)
    report = load_backbone_weights(iresnet := small(), path)
    assert (report.missing, report.unexpected) == ((), ())
    assert sorted(report.filled) == [
        "features.bias",
        "features.weight",
        *(f"layer1.0.downsample.{name}" for name in ("0.weight", "1.bias", "1.running_mean")),
        *(f"layer1.0.downsample.{name}" for name in ("1.running_var", "1.weight")),
    ]
    torch.testing.assert_close(embed(iresnet), embed(ir), rtol=1e-5, atol=1e-5)
    # What was filled in changes nothing, and so nothing is lost on the way back.
    save_file(iresnet.state_dict(), tmp_path / "back.safetensors")
    report = load_backbone_weights(back := small("ir"), tmp_path / "back.safetensors")
    assert wholly(report)
    assert torch.equal(embed(back), embed(ir))


def test_an_iresnet_loses_two_things_as_an_ir(tmp_path: Path) -> None:
    weights = iresnet_file() | {"features.weight": torch.ones(24)}
    path = saved(weights, tmp_path / "backbone.pth")
    backbone = small("ir")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(BackboneError, match=r"6 of its own have no place .*stage1_shortcut conv"):
        load_backbone_weights(backbone, path)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    report = load_backbone_weights(backbone, path, allow_partial=True)
    assert (report.filled, report.missing) == ((), ())
    assert sorted(report.unexpected) == [
        "features.bias",
        *(f"layer1.0.downsample.{name}" for name in ("0.weight", "1.bias", "1.running_mean")),
        *(f"layer1.0.downsample.{name}" for name in ("1.running_var", "1.weight")),
    ]
    assert torch.equal(
        backbone.state_dict()["layer2.1.conv1.weight"], weights["layer2.1.conv1.weight"]
    )


@pytest.mark.parametrize(
    ("kind", "weights", "message"),
    [
        ("iresnet", {"layer2.1.bn2.bias": None}, r"1 of the backbone .*\(layer2.1.bn2.bias\)"),
        ("iresnet", {"layer1.0.downsample.1.bias": None}, "layer1.0.downsample.1.bias"),
        ("iresnet", {"features.bias": None}, r"\(features.bias\)"),
        ("iresnet", {"more": torch.ones(1)}, r"1 of its own have no place \(more\)"),
        ("iresnet", {"fc.weight": torch.ones(32, 512)}, "embedding_dim 32.* embedding_dim 24"),
        ("iresnet", {"fc.weight": torch.ones(24, 2048)}, "image_size 64.* image_size 32"),
        ("iresnet", {"fc.bias": torch.ones(24, dtype=torch.int8)}, r"another shape \(fc.bias\)"),
        ("iresnet", {"layer3.1.bn1.bias": torch.ones(64)}, r"layers \[1, 2, 2, 1\]"),
        ("ir", {"input_layer.2.weight": None}, r"1 of the backbone .*\(prelu.weight\)"),
        ("ir", {"body.9.res_layer.0.weight": torch.ones(9)}, r"no place .*body.9.res_layer"),
    ],
)
def test_a_file_that_fits_in_part_changes_nothing(
    tmp_path: Path, kind: str, weights: dict[str, Tensor | None], message: str
) -> None:
    content = (ir_file() if kind == "ir" else iresnet_file()) | weights
    path = saved({k: v for k, v in content.items() if v is not None}, tmp_path / "part.pt")
    backbone = small(kind)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(BackboneError, match=message) as caught:
        load_backbone_weights(backbone, path, color_order="rgb")
    assert "allow_partial" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    report = load_backbone_weights(backbone, path, color_order="rgb", allow_partial=True)
    assert report.missing or report.unexpected
    after = backbone.state_dict()
    for name in report.missing:
        assert torch.equal(after[name], before[name])
    for name in report.matched:
        assert kind == "ir" or torch.equal(after[name], content[name])  # type: ignore[arg-type]


def test_nothing_is_taken_where_nothing_fits(tmp_path: Path) -> None:
    other = small(width=8, embedding_dim=8)
    path = saved(other.state_dict(), tmp_path / "other.pt")
    for partial in (False, True):
        with pytest.raises(BackboneError, match=r"0 weights fit; .* build .* it is of\.$"):
            load_backbone_weights(small(), path, allow_partial=partial)


def test_a_report_can_be_shown(tmp_path: Path) -> None:
    weights = ir_file("model.") | {"head.kernel": torch.ones(24, 7)}
    report = load_backbone_weights(small(), saved(weights, tmp_path / "a.ckpt"))
    console = Console(file=io.StringIO(), width=160)
    console.print(report.to_table())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "AdaFace, bgr" in text
    rows = {line.split()[1]: line.split()[3] for line in text.splitlines() if "│" in line}
    assert rows == {
        "matched": str(len(weights) - 1),
        "filled": "7",
        "fresh": "0",
        "missing": "0",
        "unexpected": "0",
        "outside": "1",
    }
