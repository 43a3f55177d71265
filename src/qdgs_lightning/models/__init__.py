"""Models: plain modules, images in and numbers out."""

from qdgs_lightning.models.backbones.base import Backbone, BackboneError
from qdgs_lightning.models.backbones.create import create_backbone
from qdgs_lightning.models.backbones.iresnet import IResNet
from qdgs_lightning.models.backbones.mobilefacenet import MobileFaceNet
from qdgs_lightning.models.backbones.timm_backbone import TimmBackbone
from qdgs_lightning.models.backbones.weights import (
    BackboneWeightsReport,
    ColorChoice,
    load_backbone_weights,
)
from qdgs_lightning.models.heads import (
    AdaFace,
    ArcFace,
    CombinedMargin,
    CosFace,
    CurricularFace,
    HeadError,
    MarginHead,
    NormFace,
    SampledHead,
    names_ignored_by_ddp,
)

__all__ = [
    "AdaFace",
    "ArcFace",
    "Backbone",
    "BackboneError",
    "BackboneWeightsReport",
    "ColorChoice",
    "CombinedMargin",
    "CosFace",
    "CurricularFace",
    "HeadError",
    "IResNet",
    "MarginHead",
    "MobileFaceNet",
    "NormFace",
    "SampledHead",
    "TimmBackbone",
    "create_backbone",
    "load_backbone_weights",
    "names_ignored_by_ddp",
]
