"""What does not fit together: sizes of images, classes, measures, prompts, trainer and data."""

import math
import time
from collections.abc import Iterator
from itertools import combinations
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from qdgs_lightning.datamodules import FaceDataModule, SyntheticDataModule, SyntheticFaceDataModule
from qdgs_lightning.doctor.context import Plan
from qdgs_lightning.doctor.findings import Finding, ok, warning, wrong
from qdgs_lightning.doctor.throughput import steps_per_epoch
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.identities.aligner import warp
from qdgs_lightning.identities.drawer import RESIDUES, make_aligner
from qdgs_lightning.models import Backbone
from qdgs_lightning.search import QDSearch, evaluate
from qdgs_lightning.search.calibration import missed_ranges
from qdgs_lightning.tasks import FaceRecognizer

_PARALLEL = 0.95  # cosine of two axes from which they measure the same
_ALIKE = 0.99  # cosine of two prompts from which CLIP hardly tells them apart
_RATE_PER_IMAGE = 0.01 / 64  # learning rate of SGD, as published for 64 images a step
_FAR = 4.0  # times
_AT_ONCE = 4  # samples of the prior
_SAMPLES = 16  # times as many, at most, to see whether ranges are reached
_SAMPLE_SECONDS = 5.0  # after which no more are drawn


def check_parts(plan: Plan) -> Iterator[Finding]:
    """Make sure that what is trained on can be made at all."""
    data, drawn, subject = plan.data, plan.drawn, "training images"
    if plan.command == "test":
        return
    if plan.refresh is not None and data is not None and not isinstance(data, SyntheticDataModule):
        yield wrong(
            "QDRefresh",
            f"keeps an archive for synthetic data, and {type(data).__name__} draws none",
            "take the callback out, or use a SyntheticDataModule",
        )
    if isinstance(data, FaceDataModule) and data.train_path is None:
        yield wrong(
            subject,
            "there is nothing to train on",
            "set `data.init_args.train`, or take SyntheticFaceDataModule",
        )
    if drawn is None:
        return
    parts = {"generator": drawn.generator, "guidance": drawn.guidance, "sampler": drawn.sampler}
    if absent := [name for name, part in parts.items() if part is None]:
        yield wrong(
            subject,
            f"synthetic images need generator, guidance and sampler; there is no {absent[0]}",
            f"set `data.init_args.{absent[0]}`",
        )
        return
    sampler = drawn.sampler
    assert sampler is not None
    if sampler.needs_archive and plan.refresh is None and "trainer" in plan.built:
        yield wrong(
            subject,
            f"{type(sampler).__name__} draws from an archive, and there is none",
            "add the QDRefresh callback to `trainer.callbacks`",
        )
        return
    if plan.can_draw and plan.can_judge:
        drawn.check_labels()
    told = f"drawn by {type(sampler).__name__}"
    if not isinstance(data, SyntheticFaceDataModule):
        yield ok(subject, told)
        return
    number = data.samples_per_epoch * plan.num_edits
    told = (
        f"{data.num_identities:,} identities x {data.latents_per_identity} latents x "
        f"{plan.num_edits} edits = {number:,} images an epoch, {told}"
    )
    if plan.can_draw and number < (least := data.batch_size * plan.processes):
        yield wrong(
            subject,
            f"{told}, too few for {least} images a step on {plan.processes} process(es)",
            "lower `data.init_args.batch_size`, or ask for more identities",
        )
    elif data.cache != "none" and RESIDUES % plan.processes:
        yield wrong(
            subject,
            f"a cache needs a number of processes that divides {RESIDUES}, not {plan.processes}",
            "set `data.init_args.cache: none`, or change `trainer.devices`",
        )
    else:
        yield ok(subject, told, images=number)


def check_alignment(plan: Plan) -> Iterator[Finding]:
    """Find out whether faces can be cropped as recognisers want them."""
    data, generator, subject = plan.data, plan.generator, "align"
    if not isinstance(data, SyntheticFaceDataModule) or not plan.can_draw:
        return
    if data.align == "none":
        yield ok(subject, "images stay whole; a recogniser of aligned faces would want crops")
    elif isinstance(generator, StyleGAN2Generator):
        make_aligner(generator, data.align, size=data.image_size)  # raises what the fit would
        yield ok(subject, f"crops of {data.align}, of {float(warp()[0, 0]):.0%} of the side")
    else:
        yield wrong(
            subject,
            f"{data.align} is for StyleGAN2Generator, not for {type(generator).__name__}",
            "set `data.init_args.align: none`",
        )


def check_image_sizes(plan: Plan) -> Iterator[Finding]:
    """Say which images are resized to what, and warn where small ones are blown up."""
    side = plan.generator.image_size if plan.generator is not None and plan.can_draw else None
    judge = plan.prompts if plan.can_judge else None
    if side is not None and judge is not None:
        yield _resized("images to judge", side, judge.image_size, "CLIP")
    data, model = plan.faces, plan.model
    if data is None:
        return
    if side is not None and plan.drawn is not None and isinstance(data, SyntheticFaceDataModule):
        crop = side if data.align == "none" else round(side * float(warp()[0, 0]))
        yield _resized("images to learn from", crop, data.image_size, "the recogniser")
    if not isinstance(model, FaceRecognizer) or not isinstance(model.backbone, Backbone):
        return
    wanted, subject = model.backbone.image_size, "image_size"
    if data.image_size != wanted:
        yield wrong(
            subject,
            f"the data are brought to {data.image_size} pixels and the backbone takes {wanted}",
            "set `data.init_args.image_size` and that of the backbone to one number",
        )
    if plan.images is not None:
        image, _ = plan.images[0]
        height, width = image.shape[-2:]
        if (height, width) != (wanted, wanted):
            yield wrong(
                subject,
                f"the training images are {height} x {width} and the backbone takes {wanted}",
                "bring images of that size, or build the backbone with another image_size",
            )
    if data.image_size == wanted:
        yield ok(subject, f"the backbone takes {wanted} x {wanted} pixels, as the data give them")


def check_classes(plan: Plan) -> Iterator[Finding]:
    """Compare the size of the head with the number of identities."""
    data, model, subject = plan.faces, plan.model, "head"
    if plan.command == "test" or not isinstance(model, FaceRecognizer) or data is None:
        return
    if model.make_head is None:
        yield wrong(subject, "training needs a head", "set `model.init_args.head`")
        return
    found = plan.num_classes
    named = "slots" if isinstance(data, SyntheticFaceDataModule) else "identities"
    if found is None:
        try:
            found = data.num_classes
        except QDGSError:  # told elsewhere, or the set is not there
            if model.num_classes is None:
                return
            found = 1
    size = found if model.num_classes is None else model.num_classes
    if size < found:
        yield wrong(
            subject,
            f"num_classes is {size:,}, but the data have {found:,} {named}",
            "raise or remove `model.init_args.num_classes`",
        )
        return
    plan.num_classes = size
    with torch.device("meta"):  # no memory, no time
        head = model.make_head(cast(Any, model.backbone).embedding_dim, size)
    free = f", {size - found:,} of them free" if size > found > 1 else ""
    yield ok(subject, f"{type(head).__name__} of {size:,} classes{free}", classes=size)


def check_measures(plan: Plan) -> Iterator[Finding]:
    """Compare the grid of the search with the measures of the guidance."""
    if plan.generator is None or plan.guidance is None or plan.search is None:
        return
    QDSearch(plan.generator, plan.guidance, plan.search)  # raises what the run would
    cells = torch.Size(plan.search.grid).numel()
    grid = " x ".join(map(str, plan.search.grid))
    yield ok("grid", f"{grid}, {cells:,} cells over {len(plan.search.grid)} measures", cells=cells)


def check_ranges(plan: Plan) -> Iterator[Finding]:
    """Evaluate some samples of the prior, and see whether the grid spans what they measure."""
    generator, guidance, search = plan.generator, plan.guidance, plan.search
    if generator is None or guidance is None or search is None or search.ranges is None:
        return
    if not (plan.can_draw and plan.can_judge) or len(search.ranges) != len(guidance.measure_names):
        return
    generator.to(plan.device)
    guidance.to(plan.device)
    random, begun = torch.Generator().manual_seed(0), time.monotonic()
    parts: list[Tensor] = []
    while len(parts) < _SAMPLES and time.monotonic() - begun < _SAMPLE_SECONDS:
        latents = generator.sample_latents(_AT_ONCE, random)
        parts.append(evaluate(generator, guidance, latents, batch_size=_AT_ONCE).measures)
    names = guidance.measure_names
    missed = missed_ranges(search.ranges, torch.cat(parts), names=names)
    for told in missed:
        yield warning("ranges", told, "set the search's `ranges` to what can be reached")
    if not missed:
        seen = f"{_AT_ONCE * len(parts)} prior samples"
        yield ok("ranges", f"each of them has some of {seen} within it")


def check_bins(plan: Plan) -> Iterator[Finding]:
    """Compare the sampler's bins with the measures, and their cuts with what the grid spans."""
    if plan.sampler is None or plan.guidance is None or plan.drawn is None:
        return
    names, subject, sound = plan.guidance.measure_names, "bins", True
    ranges = plan.search.ranges if plan.search is not None else None
    for bins in plan.sampler.joint.bins:
        if bins.measure >= len(names):
            sound = False
            yield wrong(
                subject,
                f"they are set for measure {bins.measure}, but the guidance has {len(names)} "
                f"({', '.join(names)})",
                "count from 0 in the sampler's `bins`",
            )
            continue
        if ranges is None or bins.measure >= len(ranges):
            continue
        low, high = ranges[bins.measure]
        cuts = {cut for interval in bins.intervals for cut in interval if abs(cut) != float("inf")}
        if outside := sorted(cut for cut in cuts if not low < cut < high):
            sound = False
            yield warning(
                subject,
                f"the cut(s) {', '.join(f'{cut:g}' for cut in outside)} of '{names[bins.measure]}' "
                f"lie outside the grid, which spans {low:g} to {high:g}, so that the search has no "
                "cell of its own for them",
                "move the cuts, or widen the search's `ranges`",
            )
    if sound:
        total = len(plan.sampler.joint.names)
        unknown = plan.search is not None and ranges is None
        told = "; ranges come from calibration, cuts cannot be compared yet"
        yield ok(subject, f"{total} joint bins of the guidance's measures{told if unknown else ''}")


def check_prompts(plan: Plan) -> Iterator[Finding]:
    """Look for prompts that say the same, by their words and by what CLIP makes of them."""
    judge = plan.prompts
    if judge is None:
        return
    subject, sound = "prompts", True
    pairs = [judge.objective, *judge.pairs]
    texts = [(p.name, text.strip()) for p in pairs for text in (p.positive, p.negative)]
    for (a, text), (b, other) in combinations(texts, 2):
        if text.casefold() == other.casefold():
            sound = False
            yield warning(
                subject, f"\"{text}\" stands in both '{a}' and '{b}'", "give each its own words"
            )
    if not plan.can_judge:
        return
    embedded = judge.prompts.cpu()
    axes = F.normalize(embedded[0::2] - embedded[1::2], dim=1)
    alike = F.cosine_similarity(embedded[0::2], embedded[1::2], dim=1).tolist()
    for pair, cosine in zip(pairs, alike, strict=True):
        if cosine > _ALIKE:
            sound = False
            yield warning(
                subject,
                f"CLIP hardly tells the two prompts of '{pair.name}' apart (cosine {cosine:.3f})",
                "say the difference in plainer words",
                cosine=cosine,
            )
    cosines = {
        (a.name, b.name): float(axes[i] @ axes[j])
        for (i, a), (j, b) in combinations(enumerate(pairs), 2)
    }
    for (a, b), cosine in cosines.items():
        if abs(cosine) > _PARALLEL:
            sound = False
            yield warning(
                subject,
                f"'{a}' and '{b}' measure nearly the same (cosine {cosine:.3f})",
                "change one of them, or leave it out",
                cosine=cosine,
            )
    if sound:
        closest = max(map(abs, cosines.values()), default=0.0)
        yield ok(subject, f"{len(pairs)} pairs; their axes have a cosine of {closest:.2f} at most")


def check_reload(plan: Plan) -> Iterator[Finding]:
    """Make sure that the trainer asks for new loaders where the data change between epochs."""
    every = plan.settings.get("reload_dataloaders_every_n_epochs", 0)
    if plan.command == "test" or not isinstance(plan.data, SyntheticDataModule):
        return
    if every != 1:
        yield wrong(
            "trainer",
            "the training data change between epochs, but the trainer keeps its loaders",
            "set `trainer.reload_dataloaders_every_n_epochs: 1`",
        )
    else:
        yield ok("trainer", "asks for new data every epoch")


def check_batch(plan: Plan) -> Iterator[Finding]:
    """Compare the learning rate of faces with the images in a step, and with all steps."""
    data, cli = plan.faces, plan.cli
    if data is None or cli is None or plan.command == "test":
        return
    gathered = int(plan.settings.get("accumulate_grad_batches") or 1)
    yield from _check_length(plan, gathered)
    images = data.batch_size * plan.processes * gathered
    told = f"{data.batch_size} x {plan.processes} process(es) = {images} images a step"
    optimizer = cli.config["fit"].get("model.init_args.optimizer")
    if not str(optimizer.get("class_path") if optimizer else "").endswith("SGD"):
        yield ok("batch", told, images=images)
        return
    rate = float(optimizer.get("init_args.lr") or 1e-3)
    usual = _RATE_PER_IMAGE * images
    told += f", learning rate {rate:g}; 0.01 at 64 images would be {usual:.2g} here"
    if not 1 / _FAR <= rate / usual <= _FAR:
        advice = "let the rate grow with the images in a step, unless you mean it so"
        yield warning("batch", told, advice, images=images)
    else:
        yield ok("batch", told, images=images)


def _check_length(plan: Plan, gathered: int) -> Iterator[Finding]:
    """Compare a scheduler that has a length of its own with that of the fit, where both are said.

    Args:
        plan: Of a fit on faces.
        gathered: How many batches are gathered for a step.
    """
    model, cli, epochs = plan.model, plan.cli, plan.max_epochs
    assert cli is not None
    scheduler = cli.config["fit"].get("model.init_args.scheduler")
    total = scheduler.get("init_args.total_steps") if scheduler else None
    if not isinstance(model, FaceRecognizer) or total is None or epochs is None:
        return
    if model.interval == "step":
        batches = steps_per_epoch(plan)
        if batches is None:
            return
        planned = math.ceil(math.floor(batches) / gathered) * epochs
        most = int(plan.settings.get("max_steps") or -1)
        planned = planned if most < 0 else min(planned, most)
    else:
        planned = epochs
    told = f"`total_steps` is {total:,}, and the fit takes {planned:,} {model.interval}s"
    if total < planned:
        key = "model.init_args.scheduler.init_args.total_steps"
        yield wrong("scheduler", told, f"set `{key}` to {planned}, or let the fit end before")
    else:
        yield ok("scheduler", told)


def _resized(subject: str, drawn: int, wanted: int, by: str) -> Finding:
    """Say that images are resized for somebody."""
    if drawn < wanted:
        return warning(
            subject,
            f"the generator gives {drawn} pixels a side and {by} wants {wanted}: they are blown up",
            "bring a generator of larger images where there is one",
        )
    how = f"{drawn} pixels a side" + (f", resized to {wanted}" if drawn > wanted else "")
    return ok(subject, f"{how}, for {by}")
