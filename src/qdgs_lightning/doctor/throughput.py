"""How long a run will take, measured for a few seconds and extrapolated."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sized
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from qdgs_lightning.datamodules import FaceDataModule, SyntheticDataModule, SyntheticFaceDataModule
from qdgs_lightning.doctor.context import Plan
from qdgs_lightning.doctor.findings import Finding, ok, wrong
from qdgs_lightning.generators import Generator, StyleGAN2Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.sampling import PriorSampler
from qdgs_lightning.search.emitters.factory import GRADIENT_ALGORITHMS
from qdgs_lightning.search.evaluation import evaluate
from qdgs_lightning.tasks import FaceRecognizer
from qdgs_lightning.tasks.examples import HasExamples
from qdgs_lightning.utils.units import duration

EVALUATED = "evaluations/s"
DIFFERENTIATED = "evaluations with gradients/s"
DRAWN = "images drawn/s"
DECODED = "images decoded/s and process"
TRAINED = "images learnt from/s"
_SHARES = 4  # of the time, one for each kind of work; no run has all five

Work = Callable[[int], None]  # on n images


def make_probe(seconds: float) -> Callable[[Plan], Iterator[Finding]]:
    """Return a check that measures rates for about so many seconds in all."""

    def check_speed(plan: Plan) -> Iterator[Finding]:
        """Measure rates on this device, and extrapolate to the run on all of its devices."""
        rates: dict[str, float] = {}
        for name, work, most in _works(plan):
            try:
                rates[name] = rate = _rate(work, most, seconds / _SHARES)
            except torch.OutOfMemoryError:
                told = f"{most} at a time do not fit: {name}"
                yield wrong("GPU memory", told, "lower the batch size that this depends on")
                continue
            numbers = {re.sub(r"\W+", "_", name): rate}
            yield ok(
                "speed", f"{rate:,.3g} {name} on one {plan.device.type} device here", **numbers
            )
        times = _extrapolated(plan, rates)
        if not times:
            return
        told = ", ".join(f"{name} {duration(time)}" for name, time in times.items())
        keys = {f"{name.replace(' ', '_')}_seconds": time for name, time in times.items()}
        on = "this device" if plan.processes == 1 else f"{plan.processes} devices such as this one"
        rest = "; validation comes on top" if plan.command == "fit" else ""
        yield ok("time (an estimate)", f"{told}, on {on}{rest}", **keys)
        if plan.processes > 1:
            name, longest = list(times.items())[-1]
            alone = duration(longest * plan.processes)
            yield ok("time (an estimate)", f"{name} {alone}, on this device alone")

    return check_speed


def _works(plan: Plan) -> Iterator[tuple[str, Work, int]]:
    """Name what the run does most, how to do it, and with how many images at a time."""
    generator, guidance, batch = plan.generator, plan.guidance, plan.batch_size
    if generator is not None and plan.can_draw:
        generator.to(plan.device)
        if guidance is not None and plan.can_judge:
            guidance.to(plan.device)
            most = plan.search.evaluation_batch_size if plan.search is not None else 32
            yield EVALUATED, _evaluation(generator, guidance, jacobian=False), most
            if plan.search is not None and plan.search.algorithm in GRADIENT_ALGORITHMS:
                yield DIFFERENTIATED, _evaluation(generator, guidance, jacobian=True), most
        if plan.drawn is not None:
            yield DRAWN, _drawing(generator, plan), plan.drawn.batch_size
    if plan.images is not None:
        yield DECODED, _loading(plan.images), 16
    if batch is not None and plan.command == "fit" and (step := _training_step(plan)) is not None:
        yield TRAINED, step, batch


def _evaluation(generator: Generator, guidance: Guidance, *, jacobian: bool) -> Work:
    """Evaluate samples of the prior."""
    random = torch.Generator().manual_seed(0)

    def work(n: int) -> None:
        latents = generator.sample_latents(n, random)
        evaluate(generator, guidance, latents, jacobian=jacobian, batch_size=n)

    return work


def _drawing(generator: Generator, plan: Plan) -> Work:
    """Draw images without their judgement, in the precision of those to train on."""
    random = torch.Generator().manual_seed(0)
    options = {}
    if isinstance(generator, StyleGAN2Generator) and isinstance(plan.data, SyntheticFaceDataModule):
        options["precision"] = plan.data.draw_precision

    def work(n: int) -> None:
        latents = generator.sample_latents(n, random).to(plan.device)
        with torch.no_grad():
            images: Tensor = generator(latents, **options)
        images.sum().item()  # waits for the device

    return work


def _loading(images: Dataset[Any]) -> Work:
    """Decode images of files, far from each other as a shuffled epoch reads them."""
    places = itertools.count(step=7919)
    count = len(cast(Sized, images))

    def work(n: int) -> None:
        for place in itertools.islice(places, n):
            images[place % count]

    return work


def _rate(work: Callable[[int], None], most: int, seconds: float) -> float:
    """Repeat work on n things for some time, and return things per second.

    The first, small piece of work is not counted, for it compiles and allocates; the second decides
    whether there is time for pieces of full size.
    """
    few = min(2, most)  # batch normalisation needs two
    work(few)
    begun = time.perf_counter()
    work(few)
    n = most if (time.perf_counter() - begun) * most / few < seconds else few
    if n > few:
        work(n)
    done, begun = 0, time.perf_counter()
    while True:
        work(n)
        done += n
        if (taken := time.perf_counter() - begun) > seconds / 2:
            return done / taken


def _training_step(plan: Plan) -> Work | None:
    """Learn from random images with a rate of zero; None for tasks that are not known here."""
    model, data, device = plan.model, plan.faces, plan.device
    random = torch.Generator().manual_seed(0)
    if isinstance(model, FaceRecognizer) and data is not None:
        if model.make_head is None or plan.num_classes is None:
            return None
        side, classes = data.image_size, plan.num_classes
        model.head = model.make_head(int(cast(Any, model.backbone).embedding_dim), classes)
        model.head.prepare()
        model.make_fast()

        def examples(n: int) -> tuple[Tensor, ...]:
            images = torch.rand(n, 3, side, side, generator=random)
            return images, torch.randint(classes, (n,), generator=random)

    elif isinstance(model, HasExamples):
        examples = partial(model.example_batch, random=random)
    else:
        return None
    model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)  # costs what any does
    precision = str(plan.settings.get("precision") or "32-true")
    half = torch.float16 if precision.startswith("16") and device.type == "cuda" else torch.bfloat16

    def work(n: int) -> None:
        batch = tuple(part.to(device) for part in examples(n))
        with torch.autocast(device.type, dtype=half, enabled="mixed" in precision):
            loss = cast(Any, model).training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device

    return work


def _extrapolated(plan: Plan, rates: dict[str, float]) -> dict[str, float]:
    """Return seconds of the parts of a run and of all of it, on all of its devices.

    Validation, start and end are left out.
    """
    if plan.command == "search":
        if EVALUATED not in rates or plan.search is None:
            return {}
        rest = max(0, plan.evaluations - plan.spent)
        return {"search": _search_time(plan, rates, rest, first=not plan.spent)}
    times, whole = {}, 0.0
    refresh = plan.refresh
    if refresh is not None and EVALUATED in rates:
        if refresh.path is None:
            times["first fill"] = _search_time(plan, rates, refresh.evaluations, first=True)
            whole += times["first fill"]
        if plan.refreshes:
            each = _search_time(plan, rates, refresh.refresh_evaluations, first=False)
            times["each refresh"] = each
            whole += plan.refreshes * each
    if labels := _labelling_times(plan, rates):
        times["labels of the last pool at most"] = labels[-1]
        whole += sum(labels)
    steps = steps_per_epoch(plan)
    if steps is None or TRAINED not in rates:
        return times
    learning, drawing = _step_times(plan, rates)
    times["an epoch"] = steps * (learning + drawing)
    epochs: float | None = plan.max_epochs
    most = int(plan.settings.get("max_steps") or -1)
    if most > 0:
        epochs = min(epochs or float("inf"), most / steps)
    if epochs is None:  # the run ends by the clock, or never
        return times
    synthetic = max(0.0, epochs - _real_epochs(plan))
    if isinstance(plan.data, SyntheticFaceDataModule) and plan.data.cache != "none":
        synthetic = min(synthetic, 1 + plan.refreshes)  # if every refresh changes all of them
    return {**times, "all": whole + epochs * steps * learning + synthetic * steps * drawing}


def _search_time(plan: Plan, rates: dict[str, float], evaluations: int, *, first: bool) -> float:
    """Seconds of so many evaluations, some of which need gradients."""
    assert plan.search is not None
    plain = 1 / rates[EVALUATED]
    calibration = min(evaluations, plan.search.calibration) if first else 0
    share, size = 0.0, plan.search.iteration_size
    if DIFFERENTIATED in rates:
        # As `TargetedEmitter` and pyribs' gradient arborescence ask for them.
        targeted = plan.search.algorithm == "targeted"
        share = (max(1, size // 18) if targeted else plan.search.emitters) / size
    gradient = 1 / rates.get(DIFFERENTIATED, rates[EVALUATED])
    each = share * gradient + (1 - share) * plain
    return (calibration * plain + (evaluations - calibration) * each) / plan.processes


def _labelling_times(plan: Plan, rates: dict[str, float]) -> list[float]:
    """Seconds to evaluate the candidates of each archive that is drawn from, at most."""
    sampler, refresh = plan.sampler, plan.refresh
    if sampler is None or EVALUATED not in rates or plan.drawn is None:
        return []
    candidates: list[int] = []
    if isinstance(sampler, PriorSampler):
        candidates = [sampler.evaluations]
    elif refresh is not None:
        cells = torch.Size(refresh.config.grid).numel()
        every = refresh.every_n_epochs or plan.max_epochs or 1
        candidates = [
            min(cells, refresh.evaluations + done * refresh.refresh_evaluations)
            for done in range(plan.refreshes + 1)
            if (done + 1) * every > _real_epochs(plan)
        ]
    views = 1 + len(sampler.quality.agreement)
    return [rows * views / rates[EVALUATED] / plan.processes for rows in candidates]


def _real_epochs(plan: Plan) -> int:
    """Epochs before the first that draws images."""
    return 0 if plan.drawn is None else plan.drawn.first_synthetic_epoch or 0


def steps_per_epoch(plan: Plan) -> float | None:
    """How many steps an epoch has on all devices; None where that is not known."""
    if plan.images is not None:
        images = len(cast(Sized, plan.images))
    elif isinstance(plan.data, SyntheticDataModule):
        images = plan.data.samples_per_epoch * plan.num_edits
    else:
        return None
    assert plan.batch_size is not None
    steps = images / plan.batch_size / plan.processes
    limit = plan.settings.get("limit_train_batches")
    if isinstance(limit, float):
        return steps * limit
    return min(steps, limit) if isinstance(limit, int) else steps


def _step_times(plan: Plan, rates: dict[str, float]) -> tuple[float, float]:
    """Seconds of a training step with its loading, and of drawing its images."""
    assert plan.batch_size is not None
    learning = plan.batch_size / rates[TRAINED]
    drawing = plan.batch_size / rates[DRAWN] if DRAWN in rates else 0.0
    if isinstance(plan.data, FaceDataModule) and DECODED in rates:
        workers = plan.data.num_workers
        loading = plan.batch_size / rates[DECODED] / max(1, workers)
        learning = max(learning, loading) if workers else learning + loading
    return learning, drawing
