"""The trained reader of avatars as an annotator."""

import torch
from torch import Tensor

from qdgs_lightning.audits.annotators import Annotator, Attribute
from qdgs_lightning.domains.avatars.annotator import ANSWERS, AvatarReader


class AvatarAnnotator(Annotator):
    """Labels avatars by an `AvatarReader`, which no search has seen; junk has no label.

    Args:
        weights: Of the reader, a shipped name or a path.

    Raises:
        WeightsError: From `prepare`: there are no such weights, or they are damaged.

    Example:
        >>> annotator = AvatarAnnotator()
        >>> annotator.prepare()
        >>> annotator(images)  # skin, gender, hair and age; -1 for junk
        tensor([[2, 0, 0, 1], [-1, -1, -1, -1]])
    """

    attributes = tuple(
        Attribute(name=name, classes=classes)
        for name, classes in ANSWERS.items()
        if name != "quality"
    )

    def __init__(self, weights: str = "avatars_reader") -> None:
        super().__init__()
        self.weights = weights
        self.reader: AvatarReader | None = None

    def prepare(self) -> None:
        """Load the reader, once."""
        if self.reader is None:
            self.reader = AvatarReader(self.weights)
        super().prepare()

    def forward(self, images: Tensor) -> Tensor:
        """Label images; see `Annotator.forward`."""
        assert self.reader is not None
        labels = self.reader.labels(images)
        junk = labels[:, -1:] == ANSWERS["quality"].index("junk")
        return torch.where(junk, -1, labels[:, :-1])

    def describe(self) -> dict[str, object]:
        """Name the weights."""
        return {"class": type(self).__name__, "weights": self.weights}
