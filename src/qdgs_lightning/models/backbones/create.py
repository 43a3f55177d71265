"""Backbones for faces by their names in the field."""

from typing import Literal, NamedTuple

from qdgs_lightning.errors import did_you_mean
from qdgs_lightning.models.backbones.base import Backbone, BackboneError
from qdgs_lightning.models.backbones.iresnet import IResNet
from qdgs_lightning.models.backbones.mobilefacenet import MobileFaceNet
from qdgs_lightning.models.backbones.timm_backbone import TimmBackbone

_TIMM = "timm:"


class _Variant(NamedTuple):
    """Blocks in each stage, and whose details."""

    layers: tuple[int, int, int, int]
    family: Literal["iresnet", "ir", "ir_se", "evolve_ir", "evolve_ir_se"]


_IRESNETS = {
    "iresnet18": _Variant((2, 2, 2, 2), "iresnet"),
    "iresnet34": _Variant((3, 4, 6, 3), "iresnet"),
    "iresnet50": _Variant((3, 4, 14, 3), "iresnet"),
    "iresnet100": _Variant((3, 13, 30, 3), "iresnet"),
    "iresnet200": _Variant((6, 26, 60, 6), "iresnet"),
    "ir_18": _Variant((2, 2, 2, 2), "ir"),
    "ir_34": _Variant((3, 4, 6, 3), "ir"),
    "ir_50": _Variant((3, 4, 14, 3), "ir"),
    "ir_101": _Variant((3, 13, 30, 3), "ir"),
    "ir_se_50": _Variant((3, 4, 14, 3), "ir_se"),
    "evolve_ir_50": _Variant((3, 4, 14, 3), "evolve_ir"),
    "evolve_ir_101": _Variant((3, 13, 30, 3), "evolve_ir"),
    "evolve_ir_152": _Variant((3, 8, 36, 3), "evolve_ir"),
    "evolve_ir_se_50": _Variant((3, 4, 14, 3), "evolve_ir_se"),
}
BACKBONE_NAMES = (*_IRESNETS, "mobilefacenet")


def create_backbone(
    name: str,
    *,
    embedding_dim: int = 512,
    image_size: int = 112,
    dropout: float | None = None,
    pretrained: bool = False,
) -> Backbone:
    """Build a backbone: RGB images in [0, 1] to embeddings that are not normalised.

    Args:
        name: ``iresnet18``, ``34``, ``50``, ``100``, ``200`` as in arcface_torch; ``ir_18``,
            ``ir_34``, ``ir_50``, ``ir_101``, ``ir_se_50`` as in AdaFace, CVLface and TFace;
            ``evolve_ir_50``, ``101``, ``152``, ``evolve_ir_se_50`` as in face.evoLVe,
            InsightFace_Pytorch and FaceX-Zoo; ``mobilefacenet``; or ``timm:`` and the name of a
            timm network.
        embedding_dim: Numbers of an embedding.
        image_size: Side of the images, but for timm a multiple of 16.
        dropout: Share of features dropped before the dense layer; None for what the originals
            have, 0.4 in those named ``ir``, 0.5 in face.evoLVe's and 0 in the others.
        pretrained: Whether to download timm's weights; others have none to download, and
            `load_backbone_weights` reads those that you have.

    Raises:
        BackboneError: There is no backbone of that name, or not with these options.

    Example:
        >>> backbone = create_backbone("ir_50")
        >>> backbone(torch.rand(2, 3, 112, 112)).shape
        torch.Size([2, 512])
    """
    if name.startswith(_TIMM):
        return TimmBackbone(
            model_name=name.removeprefix(_TIMM),
            pretrained=pretrained,
            dropout=dropout or 0.0,
            embedding_dim=embedding_dim,
            image_size=image_size,
        )
    if name not in BACKBONE_NAMES:
        if "." in name or name[:1].isupper():
            raise BackboneError(
                f"There is no backbone {name!r}; a class is named by its own key, class_path "
                f"(`--model.init_args.backbone.class_path {name}`, or `backbone: {{class_path: "
                f"{name}, init_args: ..}}` in YAML)."
            )
        raise BackboneError(
            f"There is no backbone {name!r}{did_you_mean(name, BACKBONE_NAMES)}; give one of "
            f"{', '.join(BACKBONE_NAMES)}, or {_TIMM} and the name of a timm network."
        )
    if pretrained:
        raise BackboneError(
            f"{name} has no weights to download; bring a file and use load_backbone_weights."
        )
    if name == "mobilefacenet":
        return MobileFaceNet(
            dropout=dropout or 0.0, embedding_dim=embedding_dim, image_size=image_size
        )
    layers, family = _IRESNETS[name]
    if family == "iresnet":
        return IResNet(
            layers=layers,
            dropout=dropout or 0.0,
            embedding_dim=embedding_dim,
            image_size=image_size,
        )
    evolve = family.startswith("evolve")
    if dropout is None:
        dropout = 0.5 if evolve else 0.4
    return IResNet(
        layers=layers,
        stage1_shortcut="pool",
        final_affine="trained" if evolve else "none",
        norm_between=not evolve,
        initialization="kaiming",
        squeeze_excitation=family.endswith("se"),
        dropout=dropout,
        embedding_dim=embedding_dim,
        image_size=image_size,
    )
