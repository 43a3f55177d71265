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
    Annotations,
    Annotator,
    Attribute,
    AuditedImages,
    AuditError,
    Confusion,
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
)
from qdgs_lightning.commands.data_common import counting, say
from qdgs_lightning.figures import measure_density
from qdgs_lightning.files import replacing
from qdgs_lightning.sampling.quotas import Quotas


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

    Shares are of the images that show a group clearly. They are as true as whoever labels: with a
    sample of known truth, shares are corrected for the annotator's errors on it, which must be
    the same on all the images.

    Tables are printed, and go to audit.json, audit.csv and audit.md in the output folder;
    density.png there shows how the sets spread over the measures, if the annotator has measures.
    A command that was stopped, even by kill -9, goes on when it is started again, and ends with the
    same files as one that was not.

    Args:
        source: The images, such as ImageSet, PriorSamples or Elites.
        versus: Another set to show beside the first.
        annotator: Says what images show, such as PromptAnnotator; not needed for tables of labels.
        labelled: A CSV file with the truth of some images of the source, as `ImageSet.labels`.
        confusion: A JSON file with the annotator's errors, in place of labelled images.
        targets: Shares that the groups should have, by their names, such as {dark: 0.5,
            light: 0.5}.
        cross: How many attributes at most are crossed.
        num_bootstrap: How many replicates the intervals are of; of identities, where images have
            them.
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
    if truth is not None:
        known = truth.find(seen[0].images.names)
        errors = Confusion.of(
            known, seen[0].labels, units=seen[0].images.units, attributes=attributes
        )
    reports = [
        SourceReport(
            name=each.source.name,
            source=each.source.describe(),
            labelled_by=_labelled_by(each, annotator, labelled or confusion),
            images=len(each.images),
            units=int(each.images.units.max()) + 1,
            num_bootstrap=num_bootstrap,
            seed=seed,
            tables=share_tables(
                Annotations(
                    attributes=attributes,
                    labels=each.labels,
                    units=each.images.units,
                    weights=each.images.weights,
                ),
                confusion=None if each.source.labels else errors,
                targets=aims,
                cross=cross,
                num_bootstrap=num_bootstrap,
                seed=seed,
            ),
        )
        for each in seen
    ]
    _keep(reports, output)
    _draw(seen, annotator, output)
    for path in kept:
        path.unlink(missing_ok=True)


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
    """Save what is known however the block ends, and say where when it is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        unfinished.save()
        if len(unfinished):
            say(f"What was annotated is kept in {unfinished.path}: the same command goes on there.")
        raise
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
