"""An independent look at a sampler's pool: are its labels true, and are its images any good?"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from qdgs_lightning.audits.shares import corrected
from qdgs_lightning.datamodules import SyntheticDataModule
from qdgs_lightning.domains.shapes.annotator import ShapeAnnotator
from qdgs_lightning.domains.shapes.labelled import render_annotated
from qdgs_lightning.domains.shapes.renderer import GROUPS
from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.utils.seeding import HELD_OUT, seeded_generator

JUNK = len(GROUPS)
"""Class of an image that is no clear shape of one colour; the classes before are the groups."""

_HELD_OUT = 4000
_SHEET = 10


@dataclass(frozen=True, kw_only=True)
class PoolAudit:
    """What an annotator says of a pool. Shares are corrected for the annotator's own errors.

    Attributes:
        agreement: Share of the images, junk left out, whose group is the one of their label.
        junk: Share of the images that are no clear triangle or square in one colour.
        groups: Share of each group among the images that are not junk.
        junk_uncorrected: As the annotator said.
        groups_uncorrected: As the annotator said.
        size: Number of images.
        confusion: Counts of held-out renders and junk, truth by word; see `confusion`.
    """

    agreement: float
    junk: float
    groups: tuple[float, ...]
    junk_uncorrected: float
    groups_uncorrected: tuple[float, ...]
    size: int
    confusion: tuple[tuple[int, ...], ...]


def classify(annotator: nn.Module, images: Tensor) -> Tensor:
    """Say which group each image belongs to, or that it is junk.

    Args:
        annotator: Images to logits of {triangle, square, neither} and of {red, blue, mixed}.
        images: RGB in [0, 1], shape ``[n, 3, S, S]``.

    Returns:
        Index of the group, or `JUNK`, int64, shape ``[n]``.
    """
    with torch.no_grad():
        shapes, colours = (logits.argmax(1) for logits in annotator(images))
    return _classes(shapes, colours)


def confusion(annotator: nn.Module, *, size: int = _HELD_OUT, seed: int = HELD_OUT + 2) -> Tensor:
    """Count what the annotator says of renders and of made-up junk that it never saw.

    Args:
        annotator: As in `classify`.
        size: Number of images, a fifth of them junk.
        seed: Draws them.

    Returns:
        Counts, truth by word, int64, shape ``[5, 5]``; the last class is junk.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = torch.zeros(JUNK + 1, JUNK + 1, dtype=torch.int64)
    for start in range(0, size, 250):
        batch = render_annotated(min(250, size - start), generator, junk=0.2)
        true, said = _classes(batch.shapes, batch.colours), classify(annotator, batch.images)
        counts += torch.bincount(true * (JUNK + 1) + said, minlength=counts.numel()).view_as(counts)
    return counts


def audit(said: Tensor, groups: Tensor, counts: Tensor) -> PoolAudit:
    """Summarise what was said of a pool.

    Args:
        said: What `classify` returned, shape ``[n]``.
        groups: Group that each image is labelled as, int64, shape ``[n]``.
        counts: What `confusion` returned.
    """
    shares = torch.bincount(said, minlength=JUNK + 1).double() / len(said)
    true = corrected(shares, counts)
    clear = said != JUNK

    def among_clear(values: Tensor) -> tuple[float, ...]:
        return tuple((values[:JUNK] / values[:JUNK].sum()).tolist())

    return PoolAudit(
        agreement=float((said == groups)[clear].double().mean()),
        junk=float(true[JUNK]),
        groups=among_clear(true),
        junk_uncorrected=float(shares[JUNK]),
        groups_uncorrected=among_clear(shares),
        size=len(said),
        confusion=tuple(tuple(row) for row in counts.tolist()),
    )


def audit_datamodule(
    datamodule: SyntheticDataModule, weights: str, *, contact_sheet: Path | None = None
) -> PoolAudit:
    """Audit a pool that a datamodule draws.

    Args:
        datamodule: With its archive, if its sampler needs one; labels are shape and colour.
        weights: Weights of the annotator, a shipped name or a path.
        contact_sheet: Where a picture of the pool goes.

    Returns:
        The annotator's word on one epoch's pool.
    """
    annotator = ShapeAnnotator(weights).eval()
    pool = datamodule.pool(0)
    groups = 2 * pool.labels[:, 0] + pool.labels[:, 1]
    batches = list(_images(datamodule, pool.latents))
    said = torch.cat([classify(annotator, images) for images in batches])
    if contact_sheet is not None:
        shown = torch.randperm(len(groups), generator=seeded_generator(0))
        figure = draw_contact_sheet(torch.cat(batches)[shown], groups[shown], said[shown])
        with replacing(contact_sheet) as unfinished:
            figure.savefig(unfinished)
    return audit(said, groups, _held_out_confusion(weights))


def draw_contact_sheet(images: Tensor, groups: Tensor, said: Tensor) -> Figure:
    """Show some images of each label, those that the annotator calls otherwise framed.

    Args:
        images: RGB in [0, 1], shape ``[n, 3, S, S]``.
        groups: Group that each image is labelled as, shape ``[n]``.
        said: What `classify` returned, shape ``[n]``.

    Returns:
        A figure with a row per group, of up to ten images each.
    """
    figure = Figure(figsize=(_SHEET, len(GROUPS) + 0.4), layout="constrained")
    panels = figure.subplots(len(GROUPS), _SHEET, squeeze=False)
    for group, row in enumerate(panels):
        members = (groups == group).nonzero().squeeze(1).tolist()
        row[0].set_title(f"labelled {GROUPS[group]}", loc="left", fontsize="small")
        for place, axes in enumerate(row):
            axes.set(xticks=[], yticks=[])
            if place >= len(members):
                axes.set_axis_off()
                continue
            member = members[place]
            axes.imshow(images[member].permute(1, 2, 0).numpy())
            doubted = int(said[member]) != group
            for spine in axes.spines.values():
                spine.set(color="black" if doubted else "0.85", linewidth=3 if doubted else 0.5)
    figure.suptitle("Framed: the annotator says otherwise", fontsize="small")
    return figure


@cache
def _held_out_confusion(weights: str) -> Tensor:
    """Return the confusion of an annotator, measured once per process."""
    return confusion(ShapeAnnotator(weights).eval())


def _images(datamodule: SyntheticDataModule, latents: Tensor) -> Iterator[Tensor]:
    """Draw images in batches."""
    generator, _ = datamodule.prepare_synthesis()
    device = next(generator.parameters()).device
    with torch.no_grad():
        for rows in latents.chunk(-(-len(latents) // 100)):
            yield generator(rows.to(device)).cpu()


def _classes(shapes: Tensor, colours: Tensor) -> Tensor:
    """Join shape and colour into a group, or junk where either is neither."""
    clear = (shapes < 2) & (colours < 2)
    return torch.where(clear, 2 * shapes + colours, JUNK)
