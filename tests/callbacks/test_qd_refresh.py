"""The archive that a fit keeps, against a search run alone."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from qdgs_lightning.callbacks import QDRefresh, RefreshError
from qdgs_lightning.domains.shapes import ShapeClassification, ShapeClassifier, ShapesDataModule
from qdgs_lightning.sampling import ArchiveSampler, JointBins
from qdgs_lightning.search import Archive, Coverage, QDSearch, SearchConfig
from tests.boring import BoringData, BoringTask
from tests.patches import SHAPE_AND_COLOUR, PatchGenerator, PatchGuidance

SEARCH = SearchConfig(
    grid=(6, 6), algorithm="map_elites", calibration=60, emitters=1, batch_size=20
)


def _search(evaluations: int) -> QDSearch:
    search = QDSearch(PatchGenerator(), PatchGuidance(), SEARCH)
    search.run(evaluations)
    return search


def _fit(
    folder: Path,
    callback: QDRefresh,
    *,
    max_epochs: int = 3,
    max_steps: int = -1,
    min_epochs: int | None = None,
    checkpoint: Path | None = None,
    loggers: Sequence[Logger] = (),
    before: Sequence[Callback] = (),
) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        max_steps=max_steps,
        min_epochs=min_epochs,
        reload_dataloaders_every_n_epochs=1,
        limit_val_batches=0,
        limit_train_batches=1,
        logger=[CSVLogger(folder, name="run", version="0"), *loggers],
        callbacks=[*before, callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    data = ShapesDataModule(
        second_phase="pool",
        real_epochs=1,
        samples_per_epoch=8,
        batch_size=8,
        generator=PatchGenerator(),
        guidance=PatchGuidance(),
        sampler=ArchiveSampler(bins=SHAPE_AND_COLOUR),
    )
    task = ShapeClassification(classifier=ShapeClassifier(hidden=2))
    trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    return trainer


def _assert_equal(one: Archive, other: Archive) -> None:
    for name in ("latents", "objective", "measures", "cell"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def _logged(folder: Path, name: str) -> list[float]:
    with (folder / "run" / "0" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_fill_and_refreshes_are_one_search_and_all_of_it_is_logged(tmp_path: Path) -> None:
    callback = QDRefresh(search=SEARCH, evaluations=100, every_n_epochs=1, refresh_evaluations=40)
    _fit(tmp_path, callback)
    # One fill and, at the ends of the first two of three epochs, a refresh.
    alone = [_search(evaluations) for evaluations in (100, 140, 180)]
    folder = tmp_path / "run" / "0"
    _assert_equal(Archive.load(folder / "archive.safetensors"), alone[-1].archive)
    assert _logged(tmp_path, "qd/evaluations") == [100, 140, 180]
    coverage = [search.stats.coverage for search in alone]
    assert _logged(tmp_path, "qd/coverage") == pytest.approx(coverage)
    bins = JointBins(SHAPE_AND_COLOUR).intervals
    counts = [Coverage.of(search.archive, intervals=bins) for search in alone]
    for name, kind in (("bins", "axes"), ("clear_cells", "clear"), ("prior", "prior")):
        shares = [getattr(count, kind).share for count in counts]
        assert _logged(tmp_path, f"qd/coverage_of_{name}") == pytest.approx(shares)
    score = [search.stats.qd_score for search in alone]
    assert _logged(tmp_path, "qd/score") == pytest.approx(score, rel=1e-5)
    of_budget = [len(search.archive) / 36 for search in alone]
    assert _logged(tmp_path, "qd/coverage_of_budget") == pytest.approx(of_budget)
    assert _logged(tmp_path, "qd/num_elites") == [len(search.archive) for search in alone]
    for name, function in (("max", torch.max), ("mean", torch.mean)):
        values = [float(function(search.archive.objective)) for search in alone]
        assert _logged(tmp_path, f"qd/obj_{name}") == pytest.approx(values, rel=1e-5)
    norm = [search.stats.norm_qd_score for search in alone]
    assert _logged(tmp_path, "qd/norm_score") == pytest.approx(norm, rel=1e-5)
    assert min(_logged(tmp_path, "qd/refresh_seconds")) > 0
    # The pool of each synthetic epoch comes from the archive of the moment.
    evaluated = _logged(tmp_path, "pool/evaluated")
    assert evaluated == [len(search.archive) for search in alone[1:]]
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {f"qd-elite_grid_step000000{step}.png" for step in range(3)} <= figures
    assert {f"qd-archive_heatmap_step000000{step}.png" for step in range(3)} <= figures


def test_archive_file_takes_the_place_of_the_fill(tmp_path: Path) -> None:
    search = _search(120)
    search.archive.save(tmp_path / "given.safetensors")
    _fit(tmp_path, QDRefresh(search=SEARCH, archive=str(tmp_path / "given.safetensors")))
    kept = Archive.load(tmp_path / "run" / "0" / "archive.safetensors")
    _assert_equal(kept, search.archive)
    assert _logged(tmp_path, "qd/evaluations") == [120]


def test_search_file_is_continued(tmp_path: Path) -> None:
    _search(120).save(tmp_path / "given.safetensors")
    callback = QDRefresh(
        search=SEARCH,
        every_n_epochs=1,
        refresh_evaluations=40,
        archive=str(tmp_path / "given.safetensors"),
    )
    _fit(tmp_path, callback, max_epochs=2)
    kept = Archive.load(tmp_path / "run" / "0" / "archive.safetensors")
    _assert_equal(kept, _search(160).archive)


def test_a_resumed_fit_goes_on_and_has_the_archive_in_its_folder_at_once(tmp_path: Path) -> None:
    def refresh() -> QDRefresh:
        return QDRefresh(search=SEARCH, evaluations=100, every_n_epochs=1, refresh_evaluations=40)

    checkpoint = tmp_path / "last.ckpt"
    _fit(tmp_path / "first", refresh(), max_epochs=2).save_checkpoint(checkpoint)
    # Nothing is searched after the last epoch; more epochs need what was left out then.
    for epochs, evaluations, logged in ((2, 140, []), (3, 180, [180]), (4, 220, [180, 220])):
        folder = tmp_path / str(epochs)
        _fit(folder, refresh(), max_epochs=epochs, checkpoint=checkpoint)
        kept = Archive.load(folder / "run" / "0" / "archive.safetensors")
        _assert_equal(kept, _search(evaluations).archive)
        assert _logged(folder, "qd/evaluations") == logged


class _Stop(Callback):
    """Asks for the end after some epochs, as EarlyStopping does."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_nothing_is_searched_after_the_last_epoch_whatever_ends_the_fit(tmp_path: Path) -> None:
    def refresh() -> QDRefresh:
        return QDRefresh(search=SEARCH, evaluations=100, every_n_epochs=1, refresh_evaluations=40)

    # An epoch is one step.
    trainer = _fit(tmp_path / "steps", refresh(), max_epochs=9, max_steps=2)
    assert _logged(tmp_path / "steps", "qd/evaluations") == [100, 140]
    trainer.save_checkpoint(tmp_path / "steps.ckpt")
    _fit(tmp_path / "early", refresh(), max_epochs=9, before=[_Stop(2)])
    assert _logged(tmp_path / "early", "qd/evaluations") == [100, 140]
    for steps, logged in ((2, []), (3, [180])):
        folder = tmp_path / str(steps)
        _fit(folder, refresh(), max_steps=steps, checkpoint=tmp_path / "steps.ckpt")
        assert _logged(folder, "qd/evaluations") == logged


def test_refreshes_come_after_every_so_many_epochs(tmp_path: Path) -> None:
    callback = QDRefresh(search=SEARCH, evaluations=100, every_n_epochs=2, refresh_evaluations=40)
    _fit(tmp_path, callback, max_epochs=5)
    assert _logged(tmp_path, "qd/evaluations") == [100, 140, 180]
    with (tmp_path / "run" / "0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("qd/evaluations")]
    assert [row["step"] for row in rows] == ["0", "2", "4"]  # an epoch is one step
    never = tmp_path / "never"
    _fit(never, QDRefresh(search=SEARCH, evaluations=100), max_epochs=3)
    assert _logged(never, "qd/evaluations") == [100]


def test_a_fit_that_may_not_stop_yet_is_refreshed(tmp_path: Path) -> None:
    callback = QDRefresh(search=SEARCH, evaluations=100, every_n_epochs=1, refresh_evaluations=40)
    _fit(tmp_path, callback, max_epochs=9, min_epochs=3, before=[_Stop(2)])
    assert _logged(tmp_path, "qd/evaluations") == [100, 140, 180]


def test_a_w_and_b_that_is_gone_costs_an_upload_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        raise wandb.errors.CommError("Failed to execute API request")

    run = wandb.init(mode="disabled")
    monkeypatch.setattr(run, "log_artifact", gone)
    callback = QDRefresh(search=SEARCH, evaluations=100)
    with pytest.warns(UserWarning, match=r"W&B has not taken .*archive\.safetensors .Failed"):
        _fit(tmp_path, callback, max_epochs=1, loggers=[WandbLogger(experiment=run)])
    kept = Archive.load(tmp_path / "run" / "0" / "archive.safetensors")
    _assert_equal(kept, _search(100).archive)


def test_archive_of_another_generator_is_refused(tmp_path: Path) -> None:
    generator = PatchGenerator()
    generator.scale.data.fill_(2.0)
    search = QDSearch(generator, PatchGuidance(), SEARCH)
    search.run(60)
    search.archive.save(tmp_path / "given.safetensors")
    with pytest.raises(RefreshError, match="not with this generator"):
        _fit(tmp_path, QDRefresh(search=SEARCH, archive=str(tmp_path / "given.safetensors")))


def test_data_without_synthetic_images_has_no_use_for_it(tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        callbacks=[QDRefresh(search=SEARCH)],
    )
    with pytest.raises(RefreshError, match="BoringData draws none"):
        trainer.fit(BoringTask(), BoringData())


@pytest.mark.parametrize("name", ["evaluations", "every_n_epochs", "refresh_evaluations"])
def test_senseless_numbers_are_refused(name: str) -> None:
    with pytest.raises(RefreshError, match=name):
        QDRefresh(search=SEARCH, **{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_senseless_seconds_are_refused(seconds: float) -> None:
    with pytest.raises(RefreshError, match="save_every_seconds"):
        QDRefresh(search=SEARCH, save_every_seconds=seconds)
