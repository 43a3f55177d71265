"""Backbones by name: sizes that papers and originals state, and networks of timm."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from qdgs_lightning.models import Backbone, BackboneError, TimmBackbone, create_backbone
from qdgs_lightning.models.backbones.create import BACKBONE_NAMES
from tests.models.backbones.filled import pictures

# Of the original code, but for iresnet200.
NUM_PARAMETERS = {
    "iresnet18": 24_025_600,
    "iresnet34": 34_139_328,
    "iresnet50": 43_590_848,
    "iresnet100": 65_156_160,
    "ir_18": 24_020_352,
    "ir_34": 34_134_080,
    "ir_50": 43_585_600,
    "ir_101": 65_150_912,
    "ir_se_50": 43_808_320,
    "mobilefacenet": 2_059_520,
}


def images(size: int = 112) -> Tensor:
    return torch.from_numpy(pictures(size))


@pytest.mark.parametrize("name", BACKBONE_NAMES)
def test_sizes_are_those_of_the_originals(name: str) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    if name == "iresnet200":
        # 200 and 100 layers differ in 3, 13, 30 and 3 blocks of equal width.
        block = [18 * c * c + 7 * c for c in (64, 128, 256, 512)]
        more = sum(n * each for n, each in zip((3, 13, 30, 3), block, strict=True))
        assert count == NUM_PARAMETERS["iresnet100"] + more
    elif name.startswith("evolve"):
        # A normalisation less in each block, and one of two parts after the dense layer.
        layers = (3, 4, 14, 3) if "50" in name else (3, 13, 30, 3)
        sizes = (64, 128, 256, 512)
        less = sum(2 * c * n for n, c in zip(layers, sizes, strict=True)) - 2 * 512
        if name.endswith("152"):  # 152 and 101 layers differ in the two stages between
            less += 5 * (18 * 128**2 + 5 * 128) - 6 * (18 * 256**2 + 5 * 256)
            name = "evolve_ir_101"
        assert count == NUM_PARAMETERS[name.removeprefix("evolve_")] - less
    else:
        assert count == NUM_PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "dropout", "expected"),
    [
        ("iresnet18", None, 0.0),
        ("iresnet18", 0.2, 0.2),
        ("ir_18", None, 0.4),
        ("ir_18", 0.0, 0.0),
        ("ir_18", 0.3, 0.3),
        ("mobilefacenet", None, 0.0),
        ("mobilefacenet", 0.1, 0.1),
        ("timm:test_resnet", 0.1, 0.1),
    ],
)
def test_dropout_is_the_originals_unless_said(
    name: str, dropout: float | None, expected: float
) -> None:
    backbone = create_backbone(name, embedding_dim=8, image_size=64, dropout=dropout)
    found = [m.p for m in backbone.children() if isinstance(m, torch.nn.Dropout)]
    assert found == [expected]


@pytest.mark.parametrize("name", ["mobilefacenet", "timm:test_vit", "timm:test_convnext"])
def test_all_keep_one_promise(name: str) -> None:
    backbone = create_backbone(name, embedding_dim=24, image_size=64)
    assert (backbone.embedding_dim, backbone.image_size) == (24, 64)
    embeddings = backbone(images(64))
    assert embeddings.shape == (2, 24)
    embeddings[0, 0].backward()
    gradients = [p.grad for p in backbone.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    with pytest.raises(BackboneError, match=r"takes \[n, 3, 64, 64\]"):
        backbone(images(32))
    with torch.no_grad():
        assert not torch.equal(*backbone.eval()(images(64)))
        with torch.autocast("cpu", torch.bfloat16):
            assert backbone(images(64)).dtype == torch.float32


@pytest.mark.parametrize("model_name", ["vit_tiny_patch16_224", "test_resnet", "test_efficientnet"])
def test_timm_s_features_stand_before_the_dense_layer(model_name: str) -> None:
    backbone = TimmBackbone(model_name=model_name, embedding_dim=16).eval()
    options = {"img_size": 112} if model_name.startswith("vit") else {}
    theirs = timm.create_model(model_name, num_classes=0, **options).eval()  # type: ignore[arg-type]
    theirs.load_state_dict(backbone.body.state_dict())
    config = timm.data.resolve_model_data_config(theirs)  # type: ignore[attr-defined,no-untyped-call]
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        features = theirs((images() - mean) / std)
        expected = features @ backbone.fc.weight.T / (1 + backbone.features.eps) ** 0.5
        torch.testing.assert_close(backbone(images()), expected)
    assert not any(name in ("mean", "std") for name in backbone.state_dict())
    assert backbone.training is False
    assert TimmBackbone(model_name=model_name).body.training  # though it was tried out


def test_arguments_of_timm_s_networks() -> None:
    coarse = TimmBackbone(model_name="vit_tiny_patch16_224", embedding_dim=8)
    fine = TimmBackbone(
        model_name="vit_tiny_patch16_224", embedding_dim=8, model_args={"patch_size": 8}
    )
    shapes = [tuple(net.state_dict()["body.pos_embed"].shape) for net in (coarse, fine)]
    assert shapes == [(1, 1 + 7 * 7, 192), (1, 1 + 14 * 14, 192)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iresnet_50", r"no backbone 'iresnet_50' \(did you mean 'iresnet50'\?\); give one of"),
        ("ir101", "did you mean 'ir_101'"),
        ("timm:vit_tiny_patch16_225", "no network .*did you mean 'vit_tiny_patch16_224'"),
        ("timm:hf-hub:someone/something", "timm has no network"),
        ("timm:vit_tiny_patch16_224.no_such_tag", "cannot be built .*Invalid pretrained tag"),
        ("timm:", "timm has no network ''"),
        (
            "qdgs_lightning.models.IResNet",
            r"\.backbone\.class_path qdgs_lightning\.models\.IResNet`",
        ),
        ("IResNet", r"class_path \(`--model.init_args.backbone.class_path IResNet`"),
    ],
)
def test_names_that_do_not_exist(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        create_backbone(name)


def test_what_timm_cannot_build() -> None:
    with pytest.raises(BackboneError, match=r"coatnet_0_224 cannot be built for images of 100"):
        TimmBackbone(model_name="coatnet_0_224", image_size=100)
    with pytest.raises(BackboneError, match="unexpected keyword argument 'patches'"):
        TimmBackbone(model_name="test_vit", model_args={"patches": 8})
    with pytest.raises(BackboneError, match=r"features of shape \[1, \d+, \d+, \d+\]"):
        TimmBackbone(model_name="test_resnet", model_args={"global_pool": ""})
    with pytest.raises(BackboneError, match="no weights to download"):
        create_backbone("ir_18", pretrained=True)


def test_weights_that_timm_cannot_have_are_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"weights of timm's test_vit could not be had \("):
        TimmBackbone(model_name="test_vit", pretrained=True, image_size=64)
    path = tmp_path / "timm.pth"

    def build(**model_args: str) -> TimmBackbone:
        return TimmBackbone(model_name="test_resnet", model_args=model_args, image_size=64)

    with pytest.raises(BackboneError, match=r"There is no file .*timm\.pth, the checkpoint_path"):
        build(checkpoint_path=str(path))
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(BackboneError, match=r"filled from its checkpoint_path .*init_from instead"):
        build(checkpoint_path=str(path))
    with pytest.raises(BackboneError, match="cannot be built for images of 64 pixels"):
        build(checkpoint_path=str(path), block="none")


class _Mean(Backbone):
    """Embeds the mean of all that it sees."""

    def embed(self, x: Tensor) -> Tensor:
        return x.mean(dim=(1, 2, 3))[:, None].expand(-1, self.embedding_dim)


def test_the_smallest_backbone_takes_a_pixel_in_the_middle_of_the_range() -> None:
    pixels = torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(-1, 3, 1, 1)
    found = _Mean(embedding_dim=1, image_size=1)(pixels)
    assert found.tolist() == [[-1], [0], [1]]
    for sizes in ((0, 1), (1, 0)):
        with pytest.raises(BackboneError, match="both should be positive"):
            _Mean(embedding_dim=sizes[0], image_size=sizes[1])
    with pytest.raises(BackboneError, match=r"takes \[n, 3, 1, 1\]"):
        _Mean(embedding_dim=1, image_size=1)(torch.zeros(2, 3, 1, 2))
    with pytest.raises(BackboneError, match="divide by 255"):
        _Mean(embedding_dim=1, image_size=1)(torch.zeros(2, 3, 1, 1, dtype=torch.uint8))
