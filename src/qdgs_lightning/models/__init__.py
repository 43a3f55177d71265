"""Models: plain modules, images in and numbers out."""

from qdgs_lightning.models.annotator import ShapeAnnotator
from qdgs_lightning.models.avatar_reader import AvatarReader
from qdgs_lightning.models.backbone_base import Backbone, BackboneError
from qdgs_lightning.models.backbone_weights import (
    BackboneWeightsReport,
    ColorChoice,
    load_backbone_weights,
)
from qdgs_lightning.models.backbones import create_backbone
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
from qdgs_lightning.models.iresnet import IResNet
from qdgs_lightning.models.mobilefacenet import MobileFaceNet
from qdgs_lightning.models.shape_classifier import ShapeClassifier
from qdgs_lightning.models.timm_backbone import TimmBackbone

__all__ = [
    "AdaFace",
    "ArcFace",
    "AvatarReader",
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
    "ShapeAnnotator",
    "ShapeClassifier",
    "TimmBackbone",
    "create_backbone",
    "load_backbone_weights",
    "names_ignored_by_ddp",
]
