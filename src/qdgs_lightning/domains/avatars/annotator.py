"""An independent reader of avatars, to check what searches, samplers and prompts claim."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qdgs_lightning.domains.shapes.annotator import CHANNELS, feature_layers
from qdgs_lightning.weights.files import load_weights, save_weights

ANSWERS: dict[str, tuple[str, ...]] = {
    "skin": ("light", "mixed", "dark"),
    "gender": ("masculine", "androgynous", "feminine"),
    "hair": ("short", "long"),
    "age": ("young", "old"),
    "quality": ("clear", "junk"),
}
"""What the reader says of an image, in this order."""

_SIZE = 64


class AvatarReader(nn.Module):
    """Says of an avatar what its attributes are, and whether it is a face in order at all.

    It learns from unbiased renders and made-up junk and never takes part in a search, so that its
    word on generated images is a check and not an echo. Its own errors are known from held-out
    renders (`qdgs test --config configs/avatars_reader.yaml --model.init_args.weights
    avatars_reader`).

    Args:
        weights: A shipped name or a path; ``None`` for random weights.

    Raises:
        WeightsError: There are no such weights, or they are damaged.

    Example:
        >>> skin, gender, hair, age, quality = AvatarReader().eval()(images)  # logits [n, classes]
    """

    def __init__(self, weights: str | None = "avatars_reader") -> None:
        super().__init__()
        # Faces are framed alike: where something is says what it is.
        self.features = nn.Sequential(*feature_layers(), nn.Flatten(), nn.Dropout(0.2))
        pixels = (_SIZE >> (len(CHANNELS) - 1)) ** 2
        self.sizes = [len(classes) for classes in ANSWERS.values()]
        self.answers = nn.Linear(CHANNELS[-1] * pixels, sum(self.sizes))
        if weights is not None:
            load_weights(self, weights)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Judge RGB images in [0, 1], shape ``[n, 3, S, S]``.

        Returns:
            Logits of each of `ANSWERS`, each of shape ``[n, classes]``.
        """
        if images.shape[-1] != _SIZE:
            images = F.interpolate(images, (_SIZE, _SIZE), mode="bilinear", antialias=True)
        answers: Tensor = self.answers(self.features(2 * images - 1))
        return torch.split(answers, self.sizes, dim=1)

    def labels(self, images: Tensor) -> Tensor:
        """Name the likeliest answers, int64, shape ``[n, len(ANSWERS)]``."""
        return torch.stack([logits.argmax(dim=1) for logits in self(images)], dim=1)

    def save(self, path: Path) -> None:
        """Write the weights to a ``.safetensors`` file."""
        save_weights(self, path)
