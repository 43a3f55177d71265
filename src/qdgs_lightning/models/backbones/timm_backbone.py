"""Any network of timm as a backbone for faces."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from qdgs_lightning.errors import did_you_mean
from qdgs_lightning.models.backbones.base import (
    Backbone,
    BackboneError,
    check_dropout,
    in_full_precision,
)
from qdgs_lightning.models.backbones.timm_files import timm_weights

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

ModelArgument = int | float | bool | str


class TimmBackbone(Backbone):
    """Pooled features of a timm network, a dense layer and batch normalisation.

    The dense layer has no bias and nothing before it: timm's networks end in a normalisation of
    their own or in an average of normalised features. The batch normalisation behind it brings
    every number of an embedding to mean 0, so that angles of different people spread over both
    signs, as in IResNet. Both run in float32 under autocast. Images are normalised by the mean and
    deviation that timm states for the network.

    Where a network has a fixed image size, as vision transformers have, it is built for
    `image_size`, and pretrained embeddings of positions are resampled. Those that halve images five
    times leave 4 x 4 places of 112 pixels: for faces their first stride is best made smaller, for
    example by ``model_args={"patch_size": 2}`` for a ConvNeXt and 8 for a vision transformer.

    Args:
        model_name: As timm says it, for example ``vit_tiny_patch16_224`` or, with the name of
            pretrained weights, ``vit_tiny_patch16_224.augreg_in21k``.
        pretrained: Whether to start from timm's weights, which are downloaded.
        model_args: Further arguments of the timm network, for example ``{"drop_path_rate": 0.1}``.
        dropout: Share of features dropped before the dense layer.
        embedding_dim: Numbers of an embedding.
        image_size: Side of the images.

    Raises:
        BackboneError: There is no such network, or it cannot be built or cannot take such images,
            or weights cannot be had.

    Example:
        >>> TimmBackbone(model_name="vit_tiny_patch16_224")(torch.rand(2, 3, 112, 112)).shape
        torch.Size([2, 512])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        model_name: str,
        pretrained: bool = False,
        model_args: Mapping[str, ModelArgument] | None = None,
        dropout: float = 0.0,
        embedding_dim: int = 512,
        image_size: int = 112,
    ) -> None:
        import timm  # takes longer than all else here together, and few trainings need it

        check_dropout(dropout)
        if not timm.is_model(model_name):
            hint = did_you_mean(model_name, timm.list_models())
            raise BackboneError(
                f"timm has no network {model_name!r}{hint}; timm.list_models() names all."
            )
        super().__init__(embedding_dim=embedding_dim, image_size=image_size)
        self.model_name = model_name
        self.body, channels, stated = _build(model_name, pretrained, model_args or {}, image_size)
        for name, value in (("mean", stated.mean), ("std", stated.std)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, embedding_dim, bias=False)
        self.features = nn.BatchNorm1d(embedding_dim)

    def adopt(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Take in weights of the timm network as timm publishes them, or one who trained it."""
        weights = timm_weights(self.body, tensors)
        return weights and {f"body.{name}": value for name, value in weights.items()}

    def normalize(self, images: Tensor) -> Tensor:
        """Bring images to the mean and deviation that timm states for the network."""
        return (images - self.mean) / self.std

    def embed(self, x: Tensor) -> Tensor:
        """Embed normalised images."""
        return in_full_precision(self.dropout(self.body(x)), self.fc, self.features)


def _build(
    model_name: str, pretrained: bool, model_args: Mapping[str, ModelArgument], image_size: int
) -> "tuple[nn.Module, int, PretrainedCfg]":
    """Make the network, see how many features an image has, and find what timm states of it."""
    import timm
    from timm.models import PretrainedCfg, get_pretrained_cfg

    arguments: dict[str, Any] = dict(model_args)
    try:
        stated = get_pretrained_cfg(model_name) or PretrainedCfg()
        if stated.fixed_input_size:
            arguments["img_size"] = image_size
        body = timm.create_model(model_name, pretrained=pretrained, num_classes=0, **arguments)
        training = body.training
        with torch.no_grad():
            features = body.eval()(torch.zeros(1, 3, image_size, image_size))
        body.train(training)
    except Exception as error:  # timm, the networks in it and hubs refuse by errors of any kind
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". :")
        if told := _trouble_with_weights(model_name, pretrained, arguments, reason):
            raise BackboneError(told) from error
        raise BackboneError(
            f"timm's {model_name} cannot be built for images of {image_size} pixels ({reason}); "
            "change image_size or model_args, or choose another network."
        ) from error
    if features.ndim != 2:
        raise BackboneError(
            f"timm's {model_name} returns features of shape {list(features.shape)}, not a vector "
            "for each image; leave its pooling as it is, or choose another network."
        )
    return body, features.shape[1], stated


def _trouble_with_weights(
    model_name: str, pretrained: bool, arguments: Mapping[str, Any], reason: str
) -> str:
    """Say that weights are the reason, where the network can be built without them."""
    import timm

    file = arguments.get("checkpoint_path")
    others = {name: value for name, value in arguments.items() if name != "checkpoint_path"}
    if not pretrained and not file:
        return ""
    try:
        timm.create_model(model_name, num_classes=0, **others)
    except Exception:  # as above
        return ""
    if file and not Path(str(file)).is_file():
        return f"There is no file {file}, the checkpoint_path of timm's {model_name}; correct it."
    if file:
        return (
            f"timm's {model_name} cannot be filled from its checkpoint_path {file} ({reason}); "
            "give the file as init_from instead, which leaves out a classifier."
        )
    return (
        f"The weights of timm's {model_name} could not be had ({reason}); fetch the file from its "
        "page on huggingface.co/timm on another machine and give it as init_from, with pretrained "
        "false."
    )
