"""Searching while a model trains: fill the archive first, continue the search, renew the pool."""

import time
from itertools import combinations
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from qdgs_lightning.datamodules import SyntheticDataModule
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.figures import archive_heatmap, elite_grid
from qdgs_lightning.loggers import log_figure, log_file, run_folder
from qdgs_lightning.search import Archive, QDSearch, SearchConfig, search_progress

_TILES = 10


class RefreshError(QDGSError):
    """The callback cannot keep an archive for this run."""


class QDRefresh(Callback):
    """Keeps an archive for the datamodule's sampler.

    The archive is filled when the fit starts, before the first loader is made, and the search goes
    on at the end of every n-th epoch, after which the datamodule gets the new archive. Generator
    and guidance are those of the datamodule. The search is part of checkpoints: a resumed fit goes
    on exactly as if it had not stopped. After the last epoch nothing is searched; a fit that is
    resumed for more epochs makes up for it.

    Every time, ``archive.safetensors`` in the run folder is renewed (``qdgs search`` can continue
    it), and coverage, QD-score and objectives are logged under ``qd/``, with a heatmap and a grid
    of elites.

    Args:
        search: How to search.
        evaluations: Generator evaluations of the first fill.
        every_n_epochs: How many epochs lie between two refreshes; None never refreshes.
        refresh_evaluations: Generator evaluations of each refresh.
        archive: An archive file to begin with in place of a first fill. With refreshes it must be
            one that ``qdgs search`` or this callback wrote with the same search settings.

    Raises:
        RefreshError: A number is not positive.
    """

    def __init__(
        self,
        *,
        search: SearchConfig,
        evaluations: int = 20_000,
        every_n_epochs: int | None = None,
        refresh_evaluations: int = 2_000,
        archive: str | None = None,
    ) -> None:
        for name, value in (
            ("evaluations", evaluations),
            ("every_n_epochs", every_n_epochs),
            ("refresh_evaluations", refresh_evaluations),
        ):
            if value is not None and value < 1:
                raise RefreshError(f"QDRefresh needs a positive `{name}`, not {value}.")
        self.config = search
        self.evaluations = evaluations
        self.every_n_epochs = every_n_epochs
        self.refresh_evaluations = refresh_evaluations
        self.path = archive
        self._search: QDSearch | None = None
        self._restored: dict[str, Any] | None = None
        # Epoch and step after which a refresh was left out, since no epoch followed.
        self._left_out: tuple[int, int] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill, load or restore the archive and hand it to the datamodule.

        Raises:
            RefreshError: The datamodule has no use for an archive, or the archive that was named
                comes from another generator.
        """
        datamodule = _datamodule(trainer)
        generator, guidance = datamodule.prepare_synthesis()
        started = time.monotonic()
        if self.path is not None and self.every_n_epochs is None:
            archive = Archive.load(self.path)
            if archive.metadata.generator != generator.fingerprint():
                raise RefreshError(
                    f"{self.path} was made with {archive.metadata.generator}, not with this "
                    f"generator ({generator.fingerprint()}): name its own archive, or none."
                )
        else:
            self._search = QDSearch(generator, guidance, self.config)
            if self._restored is not None:
                self._search.load_state_dict(self._restored)
                if self._left_out is not None and self._left_out[0] != trainer.max_epochs:
                    # The trainer has not restored its own step yet.
                    self._refresh(trainer, self._search, step=self._left_out[1])
                    return
                # Nothing new to show: the run that this one goes on from has logged it.
                archive = self._search.archive
                datamodule.set_archive(archive)
                self._keep(trainer, archive)
                return
            if self.path is not None:
                self._search.load(self.path)
            else:
                self._run(trainer, self._search, self.evaluations)
            archive = self._search.archive
        seconds = time.monotonic() - started
        self._hand_over(trainer, archive, seconds=seconds, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue the search when it is time to; the next epoch draws from the new archive."""
        done = trainer.current_epoch + 1
        if self.every_n_epochs is None or done % self.every_n_epochs:
            return
        assert self._search is not None
        if done == trainer.max_epochs:
            self._left_out = done, trainer.global_step
        else:
            self._refresh(trainer, self._search, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the search, if there is one, in tensors and JSON types."""
        search = None if self._search is None else self._search.state_dict()
        return {"search": search, "left_out": self._left_out}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the search of a checkpoint until the fit starts."""
        self._restored = state_dict["search"]
        self._left_out = state_dict["left_out"]

    def _refresh(self, trainer: Trainer, search: QDSearch, *, step: int) -> None:
        """Continue the search and hand the new archive over."""
        started = time.monotonic()
        self._run(trainer, search, self.refresh_evaluations)
        self._left_out = None
        self._hand_over(trainer, search.archive, seconds=time.monotonic() - started, step=step)

    def _run(self, trainer: Trainer, search: QDSearch, evaluations: int) -> None:
        """Spend evaluations, showing progress; a trial run spends as few as it can."""
        budget = search.minimum if trainer.fast_dev_run else evaluations  # type: ignore[attr-defined]
        shown = trainer.is_global_zero and trainer.progress_bar_callback is not None
        with search_progress(search, budget, shown=shown) as show:
            search.run(budget, on_iteration=show)

    def _hand_over(self, trainer: Trainer, archive: Archive, *, seconds: float, step: int) -> None:
        """Give the datamodule an archive; keep and show it."""
        datamodule = _datamodule(trainer)
        datamodule.set_archive(archive)
        if not trainer.is_global_zero:
            return
        stats = archive.stats
        metrics = {
            "qd/num_elites": stats.num_elites,
            "qd/coverage": stats.coverage,
            "qd/score": stats.qd_score,
            "qd/norm_score": stats.norm_qd_score,
            "qd/obj_max": stats.obj_max,
            "qd/obj_mean": stats.obj_mean,
            "qd/evaluations": archive.metadata.evaluations,
            "qd/refresh_seconds": seconds,
        }
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)
        self._keep(trainer, archive)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            _log_figures(trainer, datamodule, archive, step=step)

    def _keep(self, trainer: Trainer, archive: Archive) -> None:
        """Write the archive into the run folder, with the search if it is to go on."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        path = run_folder(trainer) / "archive.safetensors"
        if self._search is None:
            archive.save(path)
        else:
            self._search.save(path)
        log_file(trainer, path, kind="archive")


def _datamodule(trainer: Trainer) -> SyntheticDataModule:
    """Return the trainer's datamodule, which must be one that draws synthetic images."""
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(datamodule, SyntheticDataModule):
        raise RefreshError(
            f"QDRefresh keeps an archive for synthetic data, but {type(datamodule).__name__} draws "
            "none: take the callback out, or use a SyntheticDataModule."
        )
    return datamodule


def _log_figures(
    trainer: Trainer, datamodule: SyntheticDataModule, archive: Archive, *, step: int
) -> None:
    """Log a heatmap and a grid of elites for every pair of measures that an image can show."""
    generator, _ = datamodule.prepare_synthesis()
    of_latents = archive.metadata.guidance.get("latent_axes", 0)
    names = archive.metadata.measure_names[: len(archive.metadata.measure_names) - of_latents]
    device = trainer.strategy.root_device
    for x, y in combinations(range(len(names)), 2):
        where = "" if len(names) == 2 else f"_{names[x]}_{names[y]}"
        heatmap = archive_heatmap(archive, measures=(x, y))
        log_figure(trainer, f"qd/archive_heatmap{where}", heatmap, step=step)
        best = _best_per_tile(archive, x, y)
        with torch.no_grad():
            images = generator(archive.latents[best].to(device)).cpu()
        grid = elite_grid(
            images,
            archive.measures[best][:, [x, y]],
            names=(names[x], names[y]),
            ranges=(archive.metadata.ranges[x], archive.metadata.ranges[y]),
            shape=(_TILES, _TILES),
        )
        log_figure(trainer, f"qd/elite_grid{where}", grid, step=step)


def _best_per_tile(archive: Archive, x: int, y: int) -> torch.Tensor:
    """Choose the elite of the highest objective in each of 10 x 10 tiles over two measures."""
    grid = torch.tensor(archive.metadata.grid)
    tiles = archive.grid_index * _TILES // grid
    order = archive.objective.argsort(descending=True)
    flat = (tiles[:, x] * _TILES + tiles[:, y])[order].tolist()
    first = {tile: row for row, tile in reversed(list(enumerate(flat)))}
    return order[torch.tensor(sorted(first.values()))]
