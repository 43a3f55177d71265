"""``qdgs audit``: say what a set of images holds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import Tensor

from qdgs_lightning.audits import (
    Agreement,
    Annotations,
    Annotator,
    Attribute,
    AuditedImages,
    AuditError,
    Confusion,
    ImageLabels,
    LabelTable,
    PromptAnnotator,
    Source,
    SourceReport,
    UnfinishedAnnotations,
    annotation_settings,
    read_confusion,
    read_labels,
    report_csv,
    report_json,
    report_markdown,
    report_terminal,
    share_tables,
    write_labels,
)
from qdgs_lightning.reporting.figures import measure_density
from qdgs_lightning.sampling.quotas import Quotas
from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.utils.console import counting, say


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A source whose images have been labelled; measures are None where a table labelled them."""

    source: Source
    images: AuditedImages
    labels: Tensor
    measures: Tensor | None


def audit(
    *,
    source: Source,
    versus: Source | None = None,
    annotator: Annotator | None = None,
    labelled: Path | None = None,
    confusion: Path | None = None,
    targets: dict[str, float] | None = None,
    cross: int = 3,
    num_bootstrap: int = 1000,
    seed: int = 0,
    batch_size: int = 64,
    accelerator: str = "auto",
    output: Path = Path("runs/audit"),
) -> None:
    """Say what a set of images holds: shares of groups and of their intersections, with intervals.

    Shares are of the images that show a group clearly. They are as true as whoever labels: true
    labels of a few hundred images, drawn evenly from the set, correct the annotator's errors.

    Tables are printed, and go to audit.json, audit.csv and audit.md in the output folder; each
    image's labels are in labels.parquet, see `write_labels`. density.png there shows how the sets
    spread over the measures, if the annotator has measures. A command that was stopped, even by
    kill -9, goes on when it is started again, and ends with the same files as one that was not.

    Args:
        source: The images, such as ImageSet, PriorSamples or Elites.
        versus: Another set to show beside the first.
        annotator: Says what images show, such as PromptAnnotator; not needed for tables of labels.
        labelled: A CSV file with the truth of some images of the source, drawn evenly from it, as
            `ImageSet.labels`; shares are by these and the annotator together.
        confusion: A JSON file with the annotator's errors on other images, in place of those.
        targets: Shares that the groups should have, by their names, such as {dark: 0.5,
            light: 0.5}.
        cross: How many attributes at most are crossed.
        num_bootstrap: How many replicates the intervals are of, except those of shares.
        seed: Of the replicates.
        batch_size: Images at once; an audit that was stopped may go on at another.
        accelerator: Where to compute: cpu, cuda, mps, or auto.
        output: The folder of the results.

    Raises:
        AuditError: Nobody labels the images, the settings contradict each other, or an audit with
            others is unfinished in the output folder.
        AnnotationError: A table or the annotator's errors cannot be used.
        SamplingError: The targets name no groups, or do not sum to 1.
        QDGSError: A set of images cannot be read.
    """
    sources = [source] if versus is None else [source, versus]
    _check(sources, annotator, labelled, confusion, cross, num_bootstrap, batch_size)
    tables, attributes = _tables(sources, annotator)
    aims = None if targets is None else Quotas.of(targets, [a.classes for a in attributes])
    errors = None if confusion is None else read_confusion(confusion, attributes)
    truth = None if labelled is None else read_labels(labelled, attributes)
    device = _device(accelerator)
    kept = [output / f"unfinished-{place}.safetensors" for place in range(len(sources))]
    seen = [
        _look(each, table, annotator, device, batch_size, path)
        for each, table, path in zip(sources, tables, kept, strict=True)
    ]
    known: Tensor | None = None
    if truth is not None:
        known = truth.find(seen[0].images.names)
        if versus is not None and not versus.labels:
            units = seen[0].images.units.of
            errors = Confusion.of(known, seen[0].labels, units=units, attributes=attributes)
    reports = [
        _report(
            each,
            attributes,
            truth=known if place == 0 else None,
            labelled_by=_labelled_by(each, annotator, labelled or confusion),
            confusion=errors,
            targets=aims,
            cross=cross,
            num_bootstrap=num_bootstrap,
            seed=seed,
        )
        for place, each in enumerate(seen)
    ]
    _keep(reports, output)
    write_labels(
        output / "labels.parquet",
        [
            ImageLabels(
                source=each.source.name,
                images=each.images.names,
                units=each.images.units.of,
                weights=each.images.weights,
                labels=each.labels,
                truth=known if place == 0 else None,
                measures=each.measures,
            )
            for place, each in enumerate(seen)
        ],
        attributes=attributes,
        measure_names=() if annotator is None else annotator.measure_names,
    )
    _draw(seen, annotator, output)
    for path in kept:
        path.unlink(missing_ok=True)


def _report(
    seen: _Seen,
    attributes: tuple[Attribute, ...],
    *,
    truth: Tensor | None,
    labelled_by: dict[str, object],
    confusion: Confusion | None,
    targets: Quotas | None,
    cross: int,
    num_bootstrap: int,
    seed: int,
) -> SourceReport:
    """Sum up one source."""
    units = seen.images.units
    annotations = Annotations(
        attributes=attributes, labels=seen.labels, units=units.of, weights=seen.images.weights
    )
    tables = share_tables(
        annotations,
        confusion=None if seen.source.labels or truth is not None else confusion,
        truth=truth,
        targets=targets,
        cross=cross,
        num_bootstrap=num_bootstrap,
        seed=seed,
    )
    agreement = (
        ()
        if truth is None
        else Agreement.of(truth, seen.labels, units=units.of, attributes=attributes)
    )
    return SourceReport(
        name=seen.source.name,
        source=seen.source.describe(),
        labelled_by=labelled_by,
        images=len(seen.images),
        units=len(units),
        unit=units.kind,
        unit_guessed=units.guessed,
        num_bootstrap=num_bootstrap,
        seed=seed,
        tables=tables,
        agreement=agreement,
    )


def _check(
    sources: Sequence[Source],
    annotator: Annotator | None,
    labelled: Path | None,
    confusion: Path | None,
    cross: int,
    num_bootstrap: int,
    batch_size: int,
) -> None:
    """Refuse what cannot be done, before anything is loaded."""
    for name, value, least in (
        ("cross", cross, 1),
        ("num_bootstrap", num_bootstrap, 0),
        ("batch_size", batch_size, 1),
    ):
        if value < least:
            raise AuditError(f"{name} is {value}; give a whole number of at least {least}.")
    if len({source.name for source in sources}) < len(sources):
        raise AuditError(
            f"Both sources are called '{sources[0].name}': give one of them another `name`."
        )
    for source in sources:
        if annotator is None and source.labels is None:
            raise AuditError(
                f"Nobody says what the images of '{source.name}' show: set `annotator`, or give "
                "an ImageSet a table of `labels`."
            )
    if labelled and confusion:
        raise AuditError("Both `labelled` and `confusion` are set: the annotator's errors are one.")
    if (labelled or confusion) and (annotator is None or (labelled and sources[0].labels)):
        raise AuditError(
            "`labelled` and `confusion` tell the errors of an annotator on the first source, and "
            "there is none: set `annotator`, or leave them out."
        )


def _tables(
    sources: Sequence[Source], annotator: Annotator | None
) -> tuple[list[LabelTable | None], tuple[Attribute, ...]]:
    """Read the tables of labels, and agree on what is said of images."""
    paths = [source.labels for source in sources]
    if annotator is not None:
        attributes = annotator.attributes
    else:
        found = [read_labels(path).attributes for path in paths if path is not None]
        names = [[attribute.name for attribute in each] for each in found]
        if any(set(each) != set(names[0]) for each in names):
            raise AuditError(
                f"The tables have the columns {' and '.join(map(str, names))}: give both the same."
            )
        classes: dict[str, set[str]] = {name: set() for name in names[0]}
        for attribute in (attribute for each in found for attribute in each):
            classes[attribute.name] |= set(attribute.classes)
        attributes = tuple(
            Attribute(name=name, classes=tuple(sorted(classes[name]))) for name in names[0]
        )
    return [read_labels(path, attributes) if path else None for path in paths], attributes


def _look(
    source: Source,
    table: LabelTable | None,
    annotator: Annotator | None,
    device: torch.device,
    batch_size: int,
    kept: Path,
) -> _Seen:
    """Label the images of a source, from where an earlier command was stopped."""
    images = source.open(device)
    if images.units.guessed:
        say(
            f"{source.name}: the unit of intervals is taken to be {images.units.kind}, for "
            f"{images.units.guessed}; set `units` if that is wrong."
        )
    if table is not None:
        labels = table.find(images.names)
        return _Seen(source=source, images=images, labels=labels, measures=None)
    assert annotator is not None
    annotator.prepare()
    annotator.to(device)
    unfinished = UnfinishedAnnotations(
        kept,
        annotation_settings(source, images, annotator, device=device),
    )
    done = len(unfinished)
    if done:
        say(f"{done:,} of {len(images):,} images of {source.name} are annotated already.")
    with (
        _saving(unfinished),
        torch.no_grad(),
        counting(f"Annotating {source.name}", len(images), start=done) as advance,
    ):
        for batch in images.batches(batch_size, done):
            labels, values = annotator.measured(batch.to(device))
            unfinished.append(_checked(labels, len(batch), annotator), values)
            for _ in range(len(batch)):
                advance()
    labels, measures = unfinished.result()
    return _Seen(source=source, images=images, labels=labels, measures=measures)


@contextmanager
def _saving(unfinished: UnfinishedAnnotations) -> Iterator[None]:
    """Save what is known however the block ends."""
    try:
        yield
    finally:
        unfinished.save()


def _checked(labels: Tensor, n: int, annotator: Annotator) -> Tensor:
    """Refuse labels that are none, as a new annotator may return."""
    numbers = torch.tensor([len(attribute.classes) for attribute in annotator.attributes])
    labels = labels.cpu()
    right = labels.shape == (n, len(numbers)) and not labels.is_floating_point()
    if not right or labels.lt(-1).any() or labels.ge(numbers).any():
        raise AuditError(
            f"{type(annotator).__name__} returned labels {labels.dtype} of shape "
            f"{list(labels.shape)}: return int64 of shape {[n, len(numbers)]}, from -1 to below "
            f"{numbers.tolist()}."
        )
    return labels.long()


def _labelled_by(
    seen: _Seen, annotator: Annotator | None, errors: Path | None
) -> dict[str, object]:
    """Say who labelled, and from where the errors are known."""
    if seen.measures is None or annotator is None:
        return {"table": str(seen.source.labels)}
    return annotator.describe() | ({"errors": str(errors)} if errors else {})


def _device(accelerator: str) -> torch.device:
    """Find where to compute."""
    try:
        return Fabric(accelerator=accelerator, devices=1).device
    except (ValueError, RuntimeError) as error:
        raise AuditError(
            f"accelerator is {accelerator}, which cannot be had here ({error}); give another, such "
            "as cpu."
        ) from error


def _keep(reports: list[SourceReport], output: Path) -> None:
    """Print the tables and write the files."""
    console = Console(highlight=False, soft_wrap=True)
    for table in report_terminal(reports):
        console.print(table)
    for remark in (remark for report in reports for remark in report.remarks()):
        console.print(remark, markup=False)
    for name, content in (
        ("audit.json", report_json(reports)),
        ("audit.csv", report_csv(reports)),
        ("audit.md", report_markdown(reports)),
    ):
        with replacing(output / name) as path:
            path.write_text(content)
    console.print(f"Tables as JSON, CSV and Markdown lie in {output}", markup=False)


def _draw(seen: list[_Seen], annotator: Annotator | None, output: Path) -> None:
    """Draw the density of all sources that have measures."""
    if annotator is None:
        return
    chosen = list(range(len(annotator.measure_names)))
    if isinstance(annotator, PromptAnnotator):
        chosen = sorted({bins.measure for bins in annotator.joint.bins})
    if len(chosen) < 2:
        return
    measured = {s.source.name: s.measures[:, chosen] for s in seen if s.measures is not None}
    if not measured:
        return
    cuts = {}
    if isinstance(annotator, PromptAnnotator):
        for bins in annotator.joint.bins:
            ends = {end for interval in bins.intervals for end in interval}
            cuts[annotator.measure_names[bins.measure]] = sorted(ends)
    figure = measure_density(
        measured,
        names=[annotator.measure_names[i] for i in chosen],
        weights={s.source.name: s.images.weights for s in seen},
        archives={s.source.name: s.images.archive for s in seen if s.images.archive is not None},
        cuts=cuts,
        ends={
            name: ends
            for name, ends in zip(annotator.measure_names, annotator.measure_ends(), strict=True)
            if ends is not None
        },
    )
    with replacing(output / "density.png") as path:
        figure.savefig(path, format="png")
