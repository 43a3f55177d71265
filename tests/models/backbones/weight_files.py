"""Small backbones, and files as other projects would write them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from qdgs_lightning.models import Backbone, BackboneWeightsReport, IResNet
from tests.models.backbones import original_names
from tests.models.backbones.filled import filled_state, pictures
from tests.models.backbones.original_names import Shapes

SMALL = {"layers": (1, 2, 1, 1), "width": 16, "embedding_dim": 24, "image_size": 32}
SMALL_NAMES = {"layers": (1, 2, 1, 1), "width": 16, "dim": 24, "size": 32}
IR = {"stage1_shortcut": "pool", "final_affine": "none"}


def images(size: int = 32) -> Tensor:
    return torch.from_numpy(pictures(size))


def state(shapes: Shapes, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: torch.from_numpy(value) for name, value in filled_state(shapes).items()}


def small(kind: str = "iresnet", **options: object) -> Backbone:
    return IResNet(**(SMALL | (IR if kind == "ir" else {}) | options)).eval()  # type: ignore[arg-type]


def iresnet_file(prefix: str = "") -> dict[str, Tensor]:
    return state(original_names.iresnet(**SMALL_NAMES), prefix)  # type: ignore[arg-type]


def ir_file(prefix: str = "") -> dict[str, Tensor]:
    return state(original_names.ir(**SMALL_NAMES), prefix)  # type: ignore[arg-type]


def embed(backbone: nn.Module, pictures: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        embeddings: Tensor = backbone(images() if pictures is None else pictures)
    return embeddings


def wholly(report: BackboneWeightsReport) -> bool:
    """Say whether a file and a backbone had the same weights."""
    return not (report.filled + report.missing + report.unexpected)


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path
