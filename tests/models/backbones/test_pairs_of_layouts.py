"""Weights of each layout in backbones of every other: the same function, or nothing at all."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from qdgs_lightning.models import (
    Backbone,
    BackboneError,
    MobileFaceNet,
    TimmBackbone,
    create_backbone,
    load_backbone_weights,
)
from tests.models.backbones import original_names
from tests.models.backbones.evolve import EvolveIR
from tests.models.backbones.filled import filled_state
from tests.models.backbones.weight_files import (
    SMALL_NAMES,
    embed,
    images,
    saved,
    small,
    state,
    wholly,
)

EVOLVE: dict[str, Any] = {
    "stage1_shortcut": "pool",
    "final_affine": "trained",
    "norm_between": False,
}
SE: dict[str, Any] = {"squeeze_excitation": True}


def timm_body(name: str) -> TimmBackbone:
    return TimmBackbone(model_name=name, embedding_dim=24, image_size=32)


def shapes(kind: Callable[..., original_names.Shapes], **options: bool) -> dict[str, Tensor]:
    return state(kind(**SMALL_NAMES, **options))


# Backbones by the layout of their own files, and such files.
BACKBONES: dict[str, Callable[[], Backbone]] = {
    "IResNet": small,
    "IR": lambda: small("ir"),
    "IR-SE": lambda: small("ir", **SE),
    "face.evoLVe": lambda: small(**EVOLVE),
    "face.evoLVe SE": lambda: small(**EVOLVE, **SE),
    "MobileFaceNet": lambda: MobileFaceNet(embedding_dim=24, image_size=112),
    "timm ResNet": lambda: timm_body("test_resnet"),
    "timm ResNet-18": lambda: timm_body("resnet18"),
    "timm ResNet-18-D": lambda: timm_body("resnet18d"),
    "timm ViT": lambda: timm_body("test_vit"),
}
FILES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "IResNet": lambda: shapes(original_names.iresnet),
    "IR": lambda: shapes(original_names.ir),
    "IR-SE": lambda: shapes(original_names.ir, squeeze_excitation=True),
    "face.evoLVe": lambda: shapes(original_names.evolve_ir),
    "face.evoLVe SE": lambda: shapes(original_names.evolve_ir, squeeze_excitation=True),
    "IR of bottlenecks": lambda: state(original_names.bottleneck_ir()),
    "MobileFaceNet": lambda: state(original_names.mobilefacenet(dim=24)),
    "narrow MobileFaceNet": lambda: state(original_names.narrow_mobilefacenet()),
    "timm ResNet": lambda: timm.create_model("test_resnet").state_dict(),
    "timm ResNet-18": lambda: timm.create_model("resnet18").state_dict(),
    "timm ResNet-18-D": lambda: timm.create_model("resnet18d").state_dict(),
    "timm ViT": lambda: timm.create_model("test_vit").state_dict(),
    "our face.evoLVe": lambda: small(**EVOLVE).state_dict(),
    "our IR-SE": lambda: small("ir", **SE).state_dict(),
}
# One layout, in which other options of the network leave some weights without a place.
SAME_LAYOUT = {
    *((name, name) for name in BACKBONES),
    ("IR", "IResNet"),
    ("IResNet", "IR"),
    ("our face.evoLVe", "face.evoLVe"),
    ("our IR-SE", "IR-SE"),
}


@pytest.mark.parametrize(("file", "backbone"), [*product(FILES, BACKBONES)])
def test_nothing_is_taken_of_another_layout(tmp_path: Path, file: str, backbone: str) -> None:
    path = saved(FILES[file](), tmp_path / "weights.pth")
    network = BACKBONES[backbone]()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    if (file, backbone) in SAME_LAYOUT:
        report = load_backbone_weights(network, path, color_order="rgb", allow_partial=True)
        assert report.matched
        assert not report.missing
        return
    for partial in (False, True):
        with pytest.raises(BackboneError) as caught:
            load_backbone_weights(network, path, color_order="rgb", allow_partial=partial)
        assert "allow_partial" not in str(caught.value)
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_layouts_that_share_names_are_among_them() -> None:
    """The pairs above are of use: in these, names and even shapes fit by accident."""
    six, five = FILES["IR"](), FILES["face.evoLVe"]()
    alike = [name for name in five if name in six and five[name].shape == six[name].shape]
    assert "body.0.res_layer.2.weight" in alike  # a scale in the one, slopes in the other
    assert len(alike) > len(five) / 2
    assert {"conv1.weight", "layer1.0.conv1.weight"} <= FILES["timm ResNet-18"]().keys()


@pytest.mark.parametrize("se", [False, True])
def test_embeddings_of_face_evolve_s_network(tmp_path: Path, se: bool) -> None:
    theirs = EvolveIR(**SMALL_NAMES, squeeze_excitation=se).eval()  # type: ignore[arg-type]
    wanted = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    named = original_names.evolve_ir(**SMALL_NAMES, squeeze_excitation=se)  # type: ignore[arg-type]
    assert named == wanted
    content = {name: torch.from_numpy(value) for name, value in filled_state(wanted).items()}
    theirs.load_state_dict(content, strict=False)  # filled_state leaves out counts of batches
    path = saved(theirs.state_dict(), tmp_path / "backbone_ir50.pth")
    ours = small(**EVOLVE, squeeze_excitation=se)
    with pytest.raises(BackboneError, match="does not say which order of colours"):
        load_backbone_weights(ours, path)
    report = load_backbone_weights(ours, path, color_order="rgb")
    assert wholly(report)
    assert report.format == "face.evoLVe"
    torch.testing.assert_close(embed(ours), embed(theirs, images() * 2 - 1))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("evolve_ir_50", (3, 4, 14, 3)),
        ("evolve_ir_101", (3, 13, 30, 3)),
        ("evolve_ir_152", (3, 8, 36, 3)),
        ("evolve_ir_se_50", (3, 4, 14, 3)),
    ],
)
def test_names_of_face_evolve_s_networks(name: str, layers: tuple[int, ...]) -> None:
    with torch.device("meta"):
        found = [tuple(value.shape) for value in create_backbone(name).state_dict().values()]
    wanted = original_names.evolve_ir(layers, squeeze_excitation="se" in name)
    assert sorted(found) == sorted(wanted.values())


@pytest.mark.parametrize("entry", ["timm's own", "state_dict"])
def test_timm_s_own_files(tmp_path: Path, entry: str) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=32)
    content: object = theirs.state_dict()
    if entry == "state_dict":
        named = {f"module.{name}": value for name, value in theirs.state_dict().items()}
        content = {"epoch": 3, "arch": "vit_tiny", "state_dict": named, "optimizer": {"state": {}}}
    path = saved(content, tmp_path / "timm.pth")
    ours = timm_body("vit_tiny_patch16_224").eval()
    report = load_backbone_weights(ours, path)
    assert (report.format, report.color_order) == ("timm", "rgb")
    assert (report.missing, report.unexpected) == ((), ())
    assert set(report.fresh) == {
        "fc.weight",
        *(f"features.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
    }
    with torch.no_grad():
        head: Any = theirs.eval()
        features = head.forward_head(head.forward_features(images()), pre_logits=True)
        torch.testing.assert_close(ours.body(images()), features)


def test_positions_of_timm_s_files_are_resampled(tmp_path: Path) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224")  # 14 x 14 places, and ours 2 x 2
    path = saved(theirs.state_dict(), tmp_path / "timm.pth")
    report = load_backbone_weights(timm_body("vit_tiny_patch16_224"), path)
    assert "body.pos_embed" in report.matched
    assert not report.missing
