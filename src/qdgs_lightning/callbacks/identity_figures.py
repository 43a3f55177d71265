"""What the identities of a training look like, and how many of them each bin has."""

import csv
from functools import partial

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from qdgs_lightning.datamodules import SyntheticFaceDataModule
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.identities import IdentityTable
from qdgs_lightning.reporting.figures import identity_sheet
from qdgs_lightning.reporting.loggers import log_csv, log_figure, run_folder
from qdgs_lightning.search.processes import first_alone
from qdgs_lightning.utils.atomic_files import replacing

_ACROSS = 18  # two latents under nine edits


class IdentityFigures(Callback):
    """Shows the identities that a `SyntheticFaceDataModule` has made.

    In the first epoch of a fit, and whenever a refresh has brought new ones, a sheet with a row of
    images for each of some identities is logged as ``pool/identity_sheet``: of every coarse bin
    those of the lowest classes, so that who stays in use is seen again. How many identities,
    latents and images each bin has is logged as a table, ``pool/identities_per_bin``, and kept in
    ``identities_step<step>.csv`` in the run folder.

    Args:
        identities: How many a sheet shows. It has the same number of every bin, one at least, so
            that they are a few less or, where there are many bins, more.

    Raises:
        QDGSError: The number is not positive, or the datamodule has no identities.
    """

    def __init__(self, *, identities: int = 12) -> None:
        if identities < 1:
            raise QDGSError(
                f"IdentityFigures needs one identity or more to show, not {identities}."
            )
        self.identities = identities
        self._shown: Tensor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make sure that there will be identities.

        Raises:
            QDGSError: There will be none.
        """
        _datamodule(trainer)
        self._shown = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log them, if they are new; collective."""
        data = _datamodule(trainer)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        table = data.identities()
        # Classes tell: an identity never changes, and no other ever gets its class.
        if self._shown is not None and torch.equal(table.classes, self._shown):
            return
        self._shown = table.classes
        edits = data.num_images // len(table)
        first_alone(partial(_log_table, trainer, table, edits))
        titles, numbers = _choose(
            table, max(1, self.identities // len(table.bin_names)), edits=edits
        )
        images: list[Tensor] = []
        # In pieces, so that no process waits for long.
        for part in torch.split(torch.cat(numbers), data.batch_size):
            first_alone(partial(_draw, data, part, images))
        counts = [len(each) for each in numbers]
        first_alone(partial(_log_sheet, trainer, table, titles, images, counts, edits))


def _datamodule(trainer: Trainer) -> SyntheticFaceDataModule:
    """Return the trainer's datamodule, which must be one that makes identities."""
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(datamodule, SyntheticFaceDataModule):
        raise QDGSError(
            f"IdentityFigures shows synthetic identities, but {type(datamodule).__name__} makes "
            "none: take the callback out, or use a SyntheticFaceDataModule."
        )
    return datamodule


def _choose(table: IdentityTable, of_each: int, *, edits: int) -> tuple[list[str], list[Tensor]]:
    """Choose identities of every bin, and return their titles and the numbers of their images."""
    titles, numbers = [], []
    for index, name in enumerate(table.bin_names):
        classes = torch.unique(table.classes[table.bins == index])[:of_each].tolist()
        for c in classes:
            rows = (table.classes == c).nonzero()
            images = (rows * edits + torch.arange(edits)).flatten()
            of = f", {_ACROSS} of {len(images)}" if len(images) > _ACROSS else ""
            titles.append(f"{name}\nidentity {c}{of}")
            numbers.append(images[:_ACROSS])
        if not classes:
            titles.append(f"{name}\nnone")
            numbers.append(torch.empty(0, dtype=torch.int64))
    return titles, numbers


def _draw(data: SyntheticFaceDataModule, numbers: Tensor, images: list[Tensor]) -> None:
    """Add images to a list."""
    images.append(data.render(numbers).cpu())


def _log_sheet(
    trainer: Trainer,
    table: IdentityTable,
    titles: list[str],
    images: list[Tensor],
    counts: list[int],
    edits: int,
) -> None:
    """Log the sheet."""
    total, shown = len(torch.unique(table.classes)), sum(count > 0 for count in counts)
    figure = identity_sheet(
        torch.split(torch.cat(images), counts),
        titles=titles,
        edits=edits,
        heading=f"{shown} of {total:,} identities"
        + (f", each latent under {edits} edits" if edits > 1 else ""),
    )
    log_figure(trainer, "pool/identity_sheet", figure, step=trainer.global_step)


def _log_table(trainer: Trainer, table: IdentityTable, edits: int) -> None:
    """Log what every bin has."""
    step = trainer.global_step
    path = run_folder(trainer) / f"identities_step{step:07d}.csv"
    latents = table.bins.bincount(minlength=len(table.bin_names)).tolist()
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["bin", "identities", "latents", "images"])
        for index, name in enumerate(table.bin_names):
            identities = len(torch.unique(table.classes[table.bins == index]))
            writer.writerow([name, identities, latents[index], latents[index] * edits])
    log_csv(trainer, "pool/identities_per_bin", path, step=step)
