"""Searching while a model trains: fill the archive first, continue the search, renew the pool."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from qdgs_lightning.callbacks.archive_figures import log_archive_figures
from qdgs_lightning.datamodules import SyntheticDataModule
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.reporting.loggers import log_file, run_folder
from qdgs_lightning.search import Archive, Coverage, QDSearch, SearchConfig
from qdgs_lightning.search.persistence.resume import (
    evaluations_to_reach,
    further_search,
    run_and_save,
)
from qdgs_lightning.search.processes import check_same, exchange, first_alone, together

_FILE = "archive.safetensors"


class RefreshError(QDGSError):
    """The callback cannot keep an archive for this run."""


class QDRefresh(Callback):
    """Keeps an archive for the datamodule's sampler.

    The archive is filled when the fit starts, before the first loader is made, and the search goes
    on at the end of every n-th epoch, after which the datamodule gets the new archive. Generator
    and guidance are those of the datamodule. The search is part of checkpoints: a resumed fit goes
    on exactly as if it had not stopped. After the last epoch nothing is searched, whatever ends the
    fit: a number of epochs or steps, time, or a callback before this one, such as EarlyStopping; a
    fit that is resumed for more makes up for it.

    Every time, ``archive.safetensors`` in the run folder is renewed (``qdgs search`` can continue
    it), and coverage (of all cells and of those that can be filled, see `Coverage`), QD-score and
    objectives are logged under ``qd/``, with a heatmap and a grid of elites.

    A stop in the middle of a fill or refresh, even by kill -9, costs no more than
    `save_every_seconds` of it: that often the search is saved to the same file, and a checkpoint
    knows where the file is. A search does not depend on training, so that the file holds what the
    one in an older checkpoint comes to; a fit that is started again takes it from there when its
    turn comes, and ends with the archive of one that was never stopped, bit for bit on one kind of
    CPU. This goes for ``--ckpt_path`` (a checkpoint of the stopped run), for the same command in
    the same run folder (a logger with a fixed ``version``), and for `archive` in any folder. Until
    its turn comes, the file is farther than the archive in use.

    On several processes, evaluations are shared, and what one of them cannot do stops all with a
    sentence; so do archives that differ. No process waits for another longer than a chunk of
    `search.evaluation_batch_size`, a file or a figure takes, however long the search is, so that
    the timeout of the process group need not grow with it.

    Args:
        search: How to search.
        evaluations: Generator evaluations of the first fill.
        every_n_epochs: How many epochs lie between two refreshes; None never refreshes.
        refresh_evaluations: Generator evaluations of each refresh.
        archive: An archive file to begin with in place of a first fill. With refreshes it must be
            one that ``qdgs search`` or this callback wrote with the same search settings. A fill
            or refresh that was stopped in it is finished first.
        save_every_seconds: How much of a fill or refresh a stop may cost; 0 saves after every
            iteration of the search.

    Raises:
        RefreshError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        search: SearchConfig,
        evaluations: int = 20_000,
        every_n_epochs: int | None = None,
        refresh_evaluations: int = 2_000,
        archive: str | None = None,
        save_every_seconds: float = 60.0,
    ) -> None:
        for name, value in (
            ("evaluations", evaluations),
            ("every_n_epochs", every_n_epochs),
            ("refresh_evaluations", refresh_evaluations),
        ):
            never = name == "every_n_epochs" and value is None
            if not never and (value is None or value < 1):
                raise RefreshError(f"QDRefresh needs a positive `{name}`, not {value}.")
        if not save_every_seconds >= 0:
            raise RefreshError(
                f"QDRefresh needs `save_every_seconds` of at least 0, not {save_every_seconds}."
            )
        self.config = search
        self.evaluations = evaluations
        self.every_n_epochs = every_n_epochs
        self.refresh_evaluations = refresh_evaluations
        self.path = archive
        self.save_every_seconds = save_every_seconds
        self._search: QDSearch | None = None
        # The search as an interrupted run has left it, farther than the one in use.
        self._further: QDSearch | None = None
        # While the search runs, checkpoints hold it as it was before; None before the first fill.
        self._running = False
        self._before: dict[str, Any] | None = None
        # Epoch and step after which a refresh was left out since no epoch followed, or not ended.
        self._left_out: tuple[int, int] | None = None
        # Where this run keeps its archive, and where that of its checkpoint did.
        self._file: Path | None = None
        self._former_file: Path | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill, load or restore the archive and hand it to the datamodule.

        Raises:
            RefreshError: The datamodule has no use for an archive, or the archive that was named
                comes from another generator.
            ProcessError: Processes disagree, or one of them is gone or has failed.
        """
        datamodule = _datamodule(trainer)
        together(datamodule.prepare_synthesis)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            # The first process knows: loggers of the others may have counted one version on.
            self._file = Path(exchange(str(run_folder(trainer).absolute()))[0], _FILE)
        started = time.monotonic()
        elites = None if self.every_n_epochs else together(lambda: self._given_elites(trainer))
        if elites is not None:
            self._hand_over(trainer, elites, started=started, step=trainer.global_step)
            return
        restored, self._before = self._before, None
        self._running = False
        self._search, until = together(lambda: self._begin(trainer, restored))
        self._further = self._find_further(trainer, self._search.evaluations, until)
        if restored is None:
            if self._search.evaluations < until:
                self._run(trainer, until)
            archive = self._search.archive
            self._hand_over(trainer, archive, started=started, step=trainer.global_step)
        elif (
            self.every_n_epochs is not None
            and self._left_out is not None
            and not _is_limit(trainer, *self._left_out)
        ):
            # The trainer has not restored its own step yet.
            self._refresh(trainer, step=self._left_out[1])
        else:
            # Nothing new to show: the run that this one goes on from has logged it.
            archive = self._search.archive
            check_same(archive)
            datamodule.set_archive(archive)
            self._keep(trainer, archive, until=until)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue the search when it is time to; the next epoch draws from the new archive."""
        done = trainer.current_epoch + 1
        if self.every_n_epochs is None or done % self.every_n_epochs:
            return
        # Before anything is searched: a checkpoint that is taken meanwhile is to make up for it.
        self._left_out = done, trainer.global_step
        if not (_is_limit(trainer, *self._left_out) or _stops_early(trainer, *self._left_out)):
            self._refresh(trainer, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the search, if there is one, in tensors and JSON types."""
        if self._running or self._search is None:
            search = self._before
        else:
            search = self._search.state_dict()
        file = None if self._file is None else str(self._file)
        return {"search": search, "left_out": self._left_out, "file": file}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the search of a checkpoint until the fit starts."""
        self._before = state_dict["search"]
        self._left_out = state_dict["left_out"]
        file = state_dict.get("file")  # checkpoints of earlier versions have none
        self._former_file = None if file is None else Path(file)

    def _given_elites(self, trainer: Trainer) -> Archive | None:
        """Load the archive that was named, unless a search is to go on in it."""
        if self.path is None or evaluations_to_reach(Path(self.path)) is not None:
            return None
        archive = Archive.load(self.path)
        generator, _ = _datamodule(trainer).prepare_synthesis()
        if archive.metadata.generator != generator.fingerprint():
            raise RefreshError(
                f"{self.path} was made with {archive.metadata.generator}, not with this "
                f"generator ({generator.fingerprint()}): name its own archive, or none."
            )
        return archive

    def _begin(self, trainer: Trainer, restored: dict[str, Any] | None) -> tuple[QDSearch, int]:
        """Make the search as it is at first, and say how many evaluations it gets to next."""
        generator, guidance = _datamodule(trainer).prepare_synthesis()
        search = QDSearch(generator, guidance, self.config)
        if restored is not None:
            search.load_state_dict(restored)
            more = 0 if self.every_n_epochs is None else self.refresh_evaluations
            return search, search.evaluations + more
        if self.path is not None:
            search.load(self.path)
            until = evaluations_to_reach(Path(self.path)) or 0
            # A stop may have come when only the last file was left to be written.
            unfinished = until >= search.evaluations + search.minimum
            return search, until if unfinished else search.evaluations
        return search, self.evaluations

    def _find_further(self, trainer: Trainer, after: int, until: int) -> QDSearch | None:
        """Look for what an interrupted run had found of the fill or refresh that comes next."""
        if self._file is None or after >= until:
            return None
        generator, guidance = _datamodule(trainer).prepare_synthesis()
        return further_search(
            dict.fromkeys([self._file, self._former_file or self._file]),
            generator=generator,
            guidance=guidance,
            config=self.config,
            after=after,
            until=until,
        )

    def _refresh(self, trainer: Trainer, *, step: int) -> None:
        """Continue the search and hand the new archive over."""
        started = time.monotonic()
        assert self._search is not None
        self._run(trainer, self._search.evaluations + self.refresh_evaluations)
        self._left_out = None
        self._hand_over(trainer, self._search.archive, started=started, step=step)

    def _run(self, trainer: Trainer, until: int) -> None:
        """Search up to so many evaluations in all; a trial run spends as few as it can."""
        assert self._search is not None
        self._before = self._search.state_dict() if self._search.evaluations else None
        self._running = True
        taken_up, self._further = self._further, None
        self._search = search = taken_up or self._search
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            until = search.evaluations + search.minimum
        if taken_up is None or until - search.evaluations >= search.minimum:
            run_and_save(
                search,
                until - search.evaluations,
                path=self._file,
                every_seconds=self.save_every_seconds,
                unfinished=True,
                shown=trainer.is_global_zero,
                bar=trainer.progress_bar_callback is not None,
            )
        self._running, self._before = False, None

    def _hand_over(self, trainer: Trainer, archive: Archive, *, started: float, step: int) -> None:
        """Give the datamodule an archive; keep and show it.

        The first process does the latter piece by piece, and all meet between two pieces: the
        others wait for no piece longer than the timeout of their group, whatever all of them take.
        """
        check_same(archive)
        datamodule = _datamodule(trainer)
        datamodule.set_archive(archive)
        seconds = time.monotonic() - started
        first_alone(lambda: _log_stats(trainer, archive, seconds=seconds, step=step))
        self._keep(trainer, archive)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            generator, _ = datamodule.prepare_synthesis()
            rows = self.config.evaluation_batch_size
            log_archive_figures(trainer, generator, archive, step=step, batch_size=rows)

    def _keep(self, trainer: Trainer, archive: Archive, *, until: int | None = None) -> None:
        """Write the archive into the run folder, with the search as far as it has come."""
        path = self._file
        if path is None:
            return
        further, search = self._further, self._search
        if further is not None:
            first_alone(lambda: further.save(path, until=until))
        elif search is not None:
            first_alone(lambda: search.save(path))
        else:
            first_alone(lambda: archive.save(path))
        first_alone(lambda: log_file(trainer, path, kind="archive"))


def _datamodule(trainer: Trainer) -> SyntheticDataModule:
    """Return the trainer's datamodule, which must be one that draws synthetic images."""
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(datamodule, SyntheticDataModule):
        raise RefreshError(
            f"QDRefresh keeps an archive for synthetic data, but {type(datamodule).__name__} draws "
            "none: take the callback out, or use a SyntheticDataModule."
        )
    return datamodule


def _is_limit(trainer: Trainer, epochs: int, steps: int) -> bool:
    """Whether a fit ends for its length after so many epochs and steps."""
    return epochs == trainer.max_epochs or 0 <= trainer.max_steps <= steps


def _stops_early(trainer: Trainer, epochs: int, steps: int) -> bool:
    """Whether it ends since it was asked to, as by EarlyStopping or `max_time`."""
    enough = epochs >= (trainer.min_epochs or 0) and steps >= (trainer.min_steps or 0)
    return trainer.should_stop and enough


def _coverage(trainer: Trainer, archive: Archive) -> Coverage:
    """Count covered cells, and those along the axes that the sampler's bins cut."""
    sampler = _datamodule(trainer).sampler
    if sampler is None:
        return Coverage.of(archive)
    sampler.joint.check(len(archive.metadata.measure_names))
    return Coverage.of(archive, intervals=sampler.joint.intervals)


def _log_stats(trainer: Trainer, archive: Archive, *, seconds: float, step: int) -> None:
    """Send the figures of quality-diversity search to all loggers."""
    stats = archive.stats
    metrics = {
        "qd/num_elites": stats.num_elites,
        **{f"qd/{name}": share for name, share in _coverage(trainer, archive).shares().items()},
        "qd/score": stats.qd_score,
        "qd/norm_score": stats.norm_qd_score,
        "qd/obj_max": stats.obj_max,
        "qd/obj_mean": stats.obj_mean,
        "qd/evaluations": archive.metadata.evaluations,
        "qd/refresh_seconds": seconds,
    }
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=step)
