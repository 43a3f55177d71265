"""Training of the judges of avatars: the reader of attributes, and the small CLIP."""

from collections.abc import Sequence
from types import MappingProxyType

from torch import Tensor, nn

from qdgs_lightning.domains.avatars.annotator import ANSWERS, AvatarReader
from qdgs_lightning.domains.avatars.captions import AVATAR_CAPTIONS, avatar_caption_truth
from qdgs_lightning.domains.avatars.dataset import ATTRIBUTES
from qdgs_lightning.domains.avatars.labelled import AnnotatedAvatars
from qdgs_lightning.guidance.clip import AVATARS_CLIP
from qdgs_lightning.guidance.prompts import FACE_MEASURES, FACE_OBJECTIVE
from qdgs_lightning.tasks.annotator import UNKNOWN, AnnotatorTraining
from qdgs_lightning.tasks.clip import CLIPTraining

# Of each of `FACE_MEASURES`: the attribute, and the class that its positive prompt describes.
_FACE_CLASSES = (("skin", "dark"), ("gender", "masculine"), ("hair", "long"), ("age", "young"))


class AvatarReaderTraining(AnnotatorTraining[AnnotatedAvatars]):
    """Trains an `AvatarReader` on batches of `AnnotatedAvatarRenders`; see `AnnotatorTraining`."""

    answers = MappingProxyType(ANSWERS)

    def make(self, weights: str | None) -> nn.Module:
        """Make the reader."""
        return AvatarReader(weights)

    def truth(self, batch: AnnotatedAvatars) -> Sequence[Tensor]:
        """Say the attributes of clear avatars, and of all whether they are junk."""
        junk = batch.kinds != 0
        labels = batch.labels.masked_fill(junk.unsqueeze(1), UNKNOWN)
        return *labels.unbind(1), junk.long()


class AvatarsCLIPTraining(CLIPTraining[AnnotatedAvatars]):
    """Trains the avatars' CLIP on batches of `AnnotatedAvatarRenders`; see `CLIPTraining`.

    In validation ``val/<attribute>`` is the accuracy of a published pair of prompts on clear
    avatars that are of either class and not in between, and ``val/objective`` the probability that
    a clear avatar has a higher objective than a piece of junk.
    """

    model_name = AVATARS_CLIP
    sentences = AVATAR_CAPTIONS
    prompts = (FACE_OBJECTIVE, *FACE_MEASURES)
    answer_names = ("objective", *(name for name, _ in _FACE_CLASSES))

    def truth(self, batch: AnnotatedAvatars, captions: Tensor) -> Tensor:
        """Say which captions are true; see `CLIPTraining.truth`."""
        return avatar_caption_truth(AnnotatedAvatars(*(field.cpu() for field in batch)), captions)

    def answers(self, batch: AnnotatedAvatars, values: Tensor) -> dict[str, Tensor]:
        """Judge the published prompts; see `CLIPTraining.answers`."""
        clear = batch.kinds == 0
        detailed = values[:, 0]
        right = {"objective": detailed[clear].unsqueeze(1) < detailed[~clear]}
        for (name, towards), value in zip(_FACE_CLASSES, values[:, 1:].unbind(1), strict=True):
            classes = ATTRIBUTES[name]
            labels = batch.labels[:, list(ATTRIBUTES).index(name)]
            either = clear & ((labels == 0) | (labels == len(classes) - 1))
            right[name] = (value[either] < 0) == (labels[either] == classes.index(towards))
        return right
