"""What an arm of the avatars experiment is trained on first, as an independent reader sees it."""

from functools import cache
from typing import TypedDict

import torch
from torch import Tensor

from qdgs_lightning.audits import Confusion
from qdgs_lightning.audits.shares import corrected
from qdgs_lightning.datamodules import SyntheticFaceDataModule
from qdgs_lightning.domains.avatars.audit import AvatarAnnotator
from qdgs_lightning.domains.avatars.dataset import ATTRIBUTES
from qdgs_lightning.domains.avatars.labelled import render_annotated_avatars
from qdgs_lightning.identities.drawer import FaceDrawer
from qdgs_lightning.utils.seeding import HELD_OUT, seeded_generator

_READ = 4000  # images of a pool
_HELD_OUT = 4000  # renders, a fifth of them junk
_HELD_OUT_SEED = HELD_OUT + 3
_AT_ONCE = 100

Shares = dict[str, dict[str, float]]


class PoolReport(TypedDict):
    """What a pool holds.

    Attributes:
        images: How many were read, drawn from the pool without replacement.
        shares: Share of each class of each attribute among the clear images, corrected for the
            reader's own errors, as known from held-out renders.
        said: Those shares as the reader said.
        junk: Share of the images that are no clear face, corrected.
        junk_said: As the reader said.
        agreement: For each attribute that the sampler's bins are along, the share of the clear
            images whose class is the one they are labelled with.
    """

    images: int
    shares: Shares
    said: Shares
    junk: float
    junk_said: float
    agreement: dict[str, float]


def read_pool(datamodule: SyntheticFaceDataModule, reader: str) -> PoolReport:
    """Read some images of a pool, at the size at which they are generated.

    Args:
        datamodule: With its archive, if its sampler needs one; its bins are named as the classes of
            `ATTRIBUTES` are, and its measures as the attributes.
        reader: Weights of the reader, a shipped name or a path.
    """
    annotator = AvatarAnnotator(reader)
    annotator.prepare()
    generator, guidance = datamodule.prepare_synthesis()
    assert datamodule.sampler is not None
    table = datamodule.identities()
    drawer = FaceDrawer(generator, edits=datamodule.edits, align="none", image_size=64)
    drawer.place(table, next(generator.parameters()).device)
    drawn = torch.randperm(len(table) * drawer.num_edits, generator=seeded_generator(0))[:_READ]
    parts = torch.split(drawn, _AT_ONCE)
    said = torch.cat([annotator(drawer.draw(part).float().cpu() / 255) for part in parts])
    confusion = _confusion(reader)
    junk = (said < 0).all(dim=1)
    shares: Shares = {}
    as_said: Shares = {}
    for column, (name, classes) in enumerate(ATTRIBUTES.items()):
        levels = len(classes)
        words = (said[:, column] % (levels + 1)).bincount(minlength=levels + 1).double()
        true = corrected(words / words.sum(), confusion.counts[column].sum(0))
        as_said[name] = _named(classes, words[:levels])
        shares[name] = _named(classes, true[:levels])
        corrected_junk = float(true[-1])  # every attribute says the same of junk
    agreement = {}
    bins = table.bins[drawn // drawer.num_edits]
    joint = datamodule.sampler.joint
    places_of = torch.unravel_index(bins, [len(along.intervals) for along in joint.bins])
    for along, each in zip(joint.bins, places_of, strict=True):
        name = guidance.measure_names[along.measure]
        labels = torch.tensor([ATTRIBUTES[name].index(label) for label in along.names or ()])
        column = list(ATTRIBUTES).index(name)
        agreement[name] = float((said[:, column] == labels[each])[~junk].double().mean())
    return PoolReport(
        images=len(drawn),
        shares=shares,
        said=as_said,
        junk=corrected_junk,
        junk_said=float(junk.double().mean()),
        agreement=agreement,
    )


def _named(classes: tuple[str, ...], counts: Tensor) -> dict[str, float]:
    """Turn counts into shares by name."""
    return dict(zip(classes, (counts / counts.sum()).tolist(), strict=True))


@cache
def _confusion(reader: str) -> Confusion:
    """Count what the reader says of renders and junk that no training saw, once per process."""
    annotator = AvatarAnnotator(reader)
    annotator.prepare()
    random = torch.Generator().manual_seed(_HELD_OUT_SEED)
    drawn = [
        render_annotated_avatars(_AT_ONCE, random, junk=0.2) for _ in range(_HELD_OUT // _AT_ONCE)
    ]
    said = torch.cat([annotator(part.images) for part in drawn])
    labels = torch.cat([part.labels for part in drawn])
    kinds = torch.cat([part.kinds for part in drawn])
    truth = torch.where(kinds[:, None] == 0, labels, -1)
    return Confusion.of(truth, said, units=torch.arange(len(said)), attributes=annotator.attributes)
