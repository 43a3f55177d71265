"""Training of the judges of shapes: the annotator, and the small CLIP."""

from collections.abc import Sequence
from types import MappingProxyType

from torch import Tensor, nn

from qdgs_lightning.domains.shapes.annotator import ShapeAnnotator
from qdgs_lightning.domains.shapes.captions import CAPTIONS, caption_truth
from qdgs_lightning.domains.shapes.labelled import AnnotatedImages
from qdgs_lightning.guidance.clip import SHAPES_CLIP
from qdgs_lightning.guidance.prompts import SHAPES_MEASURES, SHAPES_OBJECTIVE
from qdgs_lightning.tasks.annotator import AnnotatorTraining
from qdgs_lightning.tasks.clip import CLIPTraining


class ShapeAnnotatorTraining(AnnotatorTraining[AnnotatedImages]):
    """Trains a `ShapeAnnotator` on batches of `AnnotatedRenders`; see `AnnotatorTraining`."""

    answers = MappingProxyType(
        {"shape": ("triangle", "square", "neither"), "colour": ("red", "blue", "mixed")}
    )

    def make(self, weights: str | None) -> nn.Module:
        """Make the annotator."""
        return ShapeAnnotator(weights)

    def truth(self, batch: AnnotatedImages) -> Sequence[Tensor]:
        """Say shape and colour."""
        return batch.shapes, batch.colours


class ShapesCLIPTraining(CLIPTraining[AnnotatedImages]):
    """Trains the shapes' CLIP on batches of `AnnotatedRenders`; see `CLIPTraining`.

    In validation ``val/shape`` and ``val/colour`` are accuracies on clear shapes, and
    ``val/objective`` is the probability that a clear shape has a higher objective than a piece of
    junk.
    """

    model_name = SHAPES_CLIP
    sentences = CAPTIONS
    prompts = (SHAPES_OBJECTIVE, *SHAPES_MEASURES)
    answer_names = ("colour", "shape", "objective")

    def truth(self, batch: AnnotatedImages, captions: Tensor) -> Tensor:
        """Say which captions are true; see `CLIPTraining.truth`."""
        return caption_truth(AnnotatedImages(*(field.cpu() for field in batch)), captions)

    def answers(self, batch: AnnotatedImages, values: Tensor) -> dict[str, Tensor]:
        """Judge the published prompts; see `CLIPTraining.answers`."""
        regular, colour, shape = values.unbind(dim=1)
        clear = batch.kinds == 0
        return {
            "colour": (colour[clear] >= 0) == (batch.colours[clear] == 1),
            "shape": (shape[clear] >= 0) == (batch.shapes[clear] == 1),
            "objective": regular[clear].unsqueeze(1) < regular[~clear],
        }
