"""``qdgs export``: write an archive's images as a dataset, with a data card."""

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Literal, cast

import torch
from lightning.pytorch import LightningDataModule, Trainer

from qdgs_lightning.datamodules import SyntheticDataModule
from qdgs_lightning.export.card import card_facts, card_page, file_hash
from qdgs_lightning.export.formats import (
    ImageFile,
    write_image_folder,
    write_records,
    write_webdataset,
)
from qdgs_lightning.export.layout import DrawsIdentities, ExportLayout, IdentitySource
from qdgs_lightning.export.renderer import ImageRenderer
from qdgs_lightning.export.shards import ExportError, ImagePieces
from qdgs_lightning.export.workspace import ExportFormat, ExportOptions, ExportPlace
from qdgs_lightning.export.writer import DatasetWriter
from qdgs_lightning.search import Archive
from qdgs_lightning.utils.atomic_files import reserved
from qdgs_lightning.utils.console import counting, say
from qdgs_lightning.utils.precision import MatmulPrecision

NOT_STATED = "not stated: images inherit the terms of the generator's weights"


def export(
    *,
    data: LightningDataModule,
    output: Path,
    archive: Path | None = None,
    checkpoint: Path | None = None,
    format: ExportFormat = "folder",
    image_format: Literal["jpg", "png"] = "jpg",
    quality: int = 95,
    batch_size: int = 64,
    shard_size: int = 10_000,
    licence: str = NOT_STATED,
    devices: int | str | None = None,
    accelerator: str | None = None,
    strategy: str | None = None,
    trainer: dict[str, object] | None = None,
    model: dict[str, object] | None = None,
    seed_everything: bool | int | None = None,
    ckpt_path: str | None = None,
    weights_only: bool | None = None,
    float32_matmul_precision: MatmulPrecision = "highest",
) -> None:
    """Write the images that training would draw of an archive as a dataset, with a data card.

    The configuration is that of a fit, of which the section `data` counts, and devices, accelerator
    and strategy of the section `trainer`. The output appears once it is whole. Until then all that
    is drawn lies beside it, in <output>.unfinished: a command that was stopped, even by kill -9,
    goes on there when it is started again, and ends with the same files as one that was not.

    Args:
        data: A datamodule that draws identities, such as SyntheticFaceDataModule.
        output: The folder of the set; README.md and card.json in it say what it is.
        archive: The file of the elites that latents come from; none for a sampler of the prior.
        checkpoint: Of a fit, for identities that have the classes that they had there.
        format: What to write: folder has a folder for each identity; rec is train.rec with
            train.idx and property, as insightface's tools read them; webdataset is tar files.
        image_format: How images are kept: jpg or png.
        quality: Of JPEG files, 1 to 100.
        batch_size: Images that are drawn at a time, of which a stop loses those of one batch.
        shard_size: Images to a tar file.
        licence: Under which the set may be used, for the data card.
        devices: On how many devices to draw; the configuration's where not given.
        accelerator: Where to draw: cpu, cuda, mps or auto; the configuration's where not given.
        strategy: How processes work together; the configuration's where not given.
        trainer: The section of a fit's configuration.
        model: The section of a fit's configuration, which is not looked at.
        seed_everything: Of a fit's configuration, not looked at: the data have a seed.
        ckpt_path: Of a fit's configuration, not looked at.
        weights_only: Of a fit's configuration, not looked at.
        float32_matmul_precision: How exact products of float32 matrices are; high allows TF32.

    Raises:
        ExportError: An option is out of its range, the datamodule draws no identities, the archive
            is missing or has no use, the checkpoint is of another fit, or the output holds
            something else or has no room.
        ArchiveError: The archive file cannot be read.
        SamplingError: Another generator made the archive, or nothing in it can be used.
    """
    options = ExportOptions(
        format=format,
        image_format=image_format,
        quality=quality,
        batch_size=batch_size,
        shard_size=shard_size,
        licence=licence,
    )
    torch.set_float32_matmul_precision(float32_matmul_precision)
    source = _source(data, archive)
    place = ExportPlace(output)
    elites = None if archive is None else Archive.load(archive)
    if checkpoint is not None:
        _restore(data, checkpoint)
    settings = {**options.settings(), "archive": archive and file_hash(archive)}
    asked = trainer or {}
    runner = Trainer(
        accelerator=accelerator or cast(str, asked.get("accelerator") or "auto"),
        devices=devices or cast(int | str, asked.get("devices") or "auto"),
        strategy=strategy or _strategy(asked.get("strategy")),
        callbacks=[DatasetWriter(image_format=image_format, quality=quality)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    first = runner.is_global_zero
    keeping = reserved(place.output, ExportError) if first else nullcontext()
    with keeping:
        if first:
            place.refuse_other(settings)
        if elites is not None:
            source.set_archive(elites)
        if isinstance(data, SyntheticDataModule) and data.candidates_file is None:
            # Judged once: a GPU might judge otherwise where the border of a bin is near.
            data.candidates_file = place.candidates
        task = ImageRenderer(
            source,
            options=options,
            place=place,
            settings=settings,
            finish=partial(_finish, source=source, options=options, place=place, archive=elites),
        )
        with place.explaining_full_disk():
            runner.predict(task, return_predictions=False)


def _finish(
    task: ImageRenderer,
    *,
    source: IdentitySource,
    options: ExportOptions,
    place: ExportPlace,
    archive: Archive | None,
) -> None:
    """Make the set of its pieces, unless it is there, and say so."""
    if not place.finished:
        task.pieces.check_all_there()
        facts = card_facts(
            name=place.output.name,
            options=options,
            layout=task.layout,
            source=source,
            archive=archive,
            settings=task.settings,
        )
        _put_together(place, options, task.layout, task.pieces, facts, size=task.size)
    shutil.rmtree(place.work, ignore_errors=True)
    identities = len(task.layout.counts()[0])
    say(f"{place.output} holds {len(task.layout):,} images of {identities:,} identities.")


def _put_together(
    place: ExportPlace,
    options: ExportOptions,
    layout: ExportLayout,
    pieces: ImagePieces,
    facts: dict[str, object],
    *,
    size: tuple[int, int],
) -> None:
    """Make the set of all pieces, the data card last, and put it in its place."""
    root, height, width = place.made, *size
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    with counting("Writing", len(layout)) as advance:

        def counted(images: Iterator[ImageFile]) -> Iterator[ImageFile]:
            for image in images:
                yield image
                advance()

        images = counted(layout.named(pieces))
        match options.format:
            case "folder":
                write_image_folder(root, images, suffix=options.image_format)
            case "rec":
                write_records(root, images, height=height, width=width)
            case "webdataset":
                write_webdataset(
                    root, images, suffix=options.image_format, shard_size=options.shard_size
                )
    _write_identities(root / "identities.csv", layout)
    (root / "README.md").write_text(card_page(facts), encoding="utf-8")
    (root / "card.json").write_text(
        json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    root.replace(place.output)


def _write_identities(path: Path, layout: ExportLayout) -> None:
    """List identities: class index, label in a .rec file, bin, and number of images."""
    identities, first, counts = _first_places(layout)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("class", "label", "bin", "bin_name", "images"))
        for label, (identity, place, count) in enumerate(
            zip(identities, first, counts, strict=True)
        ):
            index = int(layout.bins[place])
            writer.writerow((identity, label, index, layout.bin_name(index), count))


def _first_places(layout: ExportLayout) -> tuple[list[int], list[int], list[int]]:
    """Return the identities, where the first image of each is, and how many it has."""
    order = layout.classes.argsort(stable=True)
    identities, counts = layout.counts()
    first = order[counts.cumsum(0) - counts]
    return identities.tolist(), first.tolist(), counts.tolist()


def _source(data: LightningDataModule, archive: Path | None) -> IdentitySource:
    """Make sure that a datamodule draws identities, and has the archive that its sampler needs.

    Raises:
        ExportError: It does not, or has not.
    """
    if not isinstance(data, DrawsIdentities):
        raise ExportError(
            f"{type(data).__name__} draws no identities to export; give the configuration of a fit "
            "with SyntheticFaceDataModule."
        )
    source = cast(IdentitySource, data)
    needed = source.sampler is not None and source.sampler.needs_archive
    name = type(source.sampler).__name__
    if needed and archive is None:
        raise ExportError(
            f"{name} draws from an archive: add --archive with the archive.safetensors of a run, "
            "or one that qdgs search made."
        )
    if archive is not None and not needed:
        raise ExportError(
            f"{name} draws from no archive: leave {archive} out, or use the ArchiveSampler."
        )
    return source


def _restore(data: LightningDataModule, checkpoint: Path) -> None:
    """Give a datamodule what it knew when a fit was saved.

    Raises:
        ExportError: The file is missing, cannot be read, or is of a fit with another datamodule.
    """
    if not checkpoint.is_file():
        raise ExportError(
            f"There is no checkpoint {checkpoint.absolute()}: fits keep theirs in "
            "<run folder>/checkpoints."
        )
    name = type(data).__qualname__  # under which the trainer keeps it
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)[name]
    except Exception as error:  # torch.load raises anything
        raise ExportError(
            f"{checkpoint} holds no identities of {name}: give a .ckpt file of a fit with this "
            "configuration."
        ) from error
    data.load_state_dict(state)


def _strategy(asked: object) -> str:
    """Take a strategy by its name; those that shard a model have nothing to shard here."""
    return asked if isinstance(asked, str) else "auto"
