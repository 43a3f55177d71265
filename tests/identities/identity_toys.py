"""Identities of a toy generator, and what records the batches that are made of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from qdgs_lightning.datamodules import FaceAugmentation, SyntheticFaceDataModule
from qdgs_lightning.identities import IdentityTable
from qdgs_lightning.sampling import ArchiveSampler, MeasureBins
from qdgs_lightning.search import Archive, QDSearch, SearchConfig
from tests.toys import ToyGenerator, ToyGuidance

PLAIN = FaceAugmentation(flip=0, crop=0, low_resolution=0, photometric=0)
HALVES: list[tuple[float, float]] = [(-math.inf, 0.5), (0.5, math.inf)]
BINS = [MeasureBins(measure=measure, intervals=HALVES) for measure in (0, 1)]
SEARCH = SearchConfig(
    grid=(12, 12), algorithm="map_elites", calibration=150, emitters=1, batch_size=20
)


class CountingGenerator(ToyGenerator):
    """Counts the images that it has drawn."""

    drawn = 0

    def forward(self, latents: Tensor) -> Tensor:
        """Draw and count."""
        self.drawn += len(latents)
        return super().forward(latents)


class Recorder(LightningModule):
    """Keeps the batches that it gets, and the identities of every epoch."""

    automatic_optimization = False

    def __init__(self) -> None:
        super().__init__()
        self.batches: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.tables: dict[int, IdentityTable] = {}

    def training_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Keep it."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.tables[self.current_epoch] = data.identities()
        self.batches.setdefault(self.current_epoch, []).append(batch)

    def configure_optimizers(self) -> None:
        """Train nothing."""

    def epoch(self, index: int) -> tuple[Tensor, Tensor]:
        """Return images and classes of an epoch."""
        images, classes = zip(*self.batches[index], strict=True)
        return torch.cat(images), torch.cat(classes)


class Refresh(Callback):
    """Hands over an archive for every epoch, as `QDRefresh` does, and goes on where a fit ended."""

    def __init__(self, archives: list[Archive]) -> None:
        self.archives = archives
        self.next = 0

    def hand_over(self, trainer: Trainer) -> None:
        """Let the datamodule have the archive of the next epoch."""
        trainer.datamodule.set_archive(self.archives[self.next])  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self.hand_over(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on."""
        self.next += 1
        self.hand_over(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the place."""
        return {"next": self.next}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the place."""
        self.next = state_dict["next"]


def found_archives() -> list[Archive]:
    """Archives of one search after 250 evaluations and more."""
    search, found = QDSearch(CountingGenerator(), ToyGuidance(), SEARCH), []
    for evaluations in (250, 100, 100, 100, 100):
        search.run(evaluations)
        found.append(search.archive)
    return found


def toy_data(**options: Any) -> SyntheticFaceDataModule:
    return SyntheticFaceDataModule(
        **{
            "generator": CountingGenerator(),
            "guidance": ToyGuidance(),
            "sampler": ArchiveSampler(bins=BINS),
            "identities": 24,
            "slots": 200,
            "align": "none",
            "image_size": 2,
            "batch_size": 6,
            "augmentation": PLAIN,
            "num_workers": 0,
            **options,
        }
    )


def fit(
    folder: Path,
    data: SyntheticFaceDataModule,
    recorder: Recorder | None = None,
    *,
    epochs: int = 1,
    checkpoint: Path | None = None,
    archives: list[Archive] | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> tuple[Recorder, Trainer]:
    recorder = Recorder() if recorder is None else recorder
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        callbacks=[*callbacks, *([Refresh(archives)] if archives else [])],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(recorder, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return recorder, trainer
