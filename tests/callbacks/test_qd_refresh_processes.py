"""The archive that a fit keeps: on two processes, through kill -9, and without waiting long."""

import resource
import signal
import time
from pathlib import Path

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from qdgs_lightning.callbacks import QDRefresh
from qdgs_lightning.domains.shapes import ShapeClassification, ShapeClassifier, ShapesDataModule
from qdgs_lightning.sampling import ArchiveSampler
from qdgs_lightning.search import Archive, QDSearch, SearchConfig
from tests.patches import SHAPE_AND_COLOUR, PatchGenerator, PatchGuidance
from tests.ranks import end_ranks, start_ranks

SEARCH = SearchConfig(
    grid=(6, 6),
    algorithm="map_elites",
    calibration=60,
    emitters=1,
    batch_size=20,
    evaluation_batch_size=10,  # two chunks an iteration: one for each of two processes
)
SEARCH_IN_TWOS = SearchConfig(**(vars(SEARCH) | {"grid": (10, 10), "evaluation_batch_size": 2}))
FILL, REFRESH = 100, 2_000
RUN = Path("run", "0")


class SlowGenerator(PatchGenerator):
    """Takes its time, and counts what it was asked for; its weights are those of any other."""

    def __init__(self, seconds: float = 0) -> None:
        super().__init__()
        self.seconds = seconds
        self.rows = 0

    def fingerprint(self) -> str:
        """Name the class that it stands for."""
        return PatchGenerator().fingerprint()

    def forward(self, latents: Tensor) -> Tensor:
        """Draw, count and wait."""
        self.rows += len(latents)
        time.sleep(self.seconds)
        return super().forward(latents)


def refresh(**changes: object) -> QDRefresh:
    values = {"evaluations": FILL, "every_n_epochs": 2, "refresh_evaluations": REFRESH}
    return QDRefresh(search=SEARCH, **(values | changes))  # type: ignore[arg-type]


def fit(
    folder: Path,
    callback: QDRefresh,
    *others: Callback,
    generator: PatchGenerator | None = None,
    world: int = 1,
    max_epochs: int = 3,
    resume: bool | Path = False,
    save_on_exception: bool = False,
) -> None:
    """Train for some epochs, on as many processes as have been started.

    Resume from the checkpoint in the same folder, or in another.
    """
    checkpoint = ModelCheckpoint(save_last=True, save_on_exception=save_on_exception)
    trainer = Trainer(
        accelerator="cpu",
        devices=world,
        strategy=DDPStrategy(process_group_backend="gloo") if world > 1 else "auto",
        max_epochs=max_epochs,
        reload_dataloaders_every_n_epochs=1,
        limit_val_batches=0,
        limit_train_batches=1,
        logger=CSVLogger(folder, name="run", version="0"),
        callbacks=[callback, checkpoint, *others],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = ShapesDataModule(
        second_phase="pool",
        real_epochs=1,
        samples_per_epoch=8,
        batch_size=8,
        generator=generator or PatchGenerator(),
        guidance=PatchGuidance(),
        sampler=ArchiveSampler(bins=SHAPE_AND_COLOUR),
    )
    origin = folder if resume is True else resume
    last = origin / RUN / "checkpoints" / "last.ckpt" if origin else None
    task = ShapeClassification(classifier=ShapeClassifier(hidden=2))
    trainer.fit(task, data, ckpt_path=last, weights_only=True)


def kept(folder: Path) -> Path:
    return folder / RUN / "archive.safetensors"


def evaluations_in(folder: Path) -> int:
    """How far the search in a run folder is; every file that is there at all is whole."""
    path = kept(folder)
    return Archive.load(path).metadata.evaluations if path.exists() else 0


def alone(folder: Path, *portions: int) -> bytes:
    """The file of a search that nothing has interrupted."""
    search = QDSearch(PatchGenerator(), PatchGuidance(), SEARCH)
    for evaluations in portions:
        search.run(evaluations)
    search.save(folder / "alone.safetensors")
    return (folder / "alone.safetensors").read_bytes()


class SaveOwn(Callback):
    """Keeps what this process's datamodule draws from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it."""
        archive = trainer.datamodule._archive  # type: ignore[attr-defined]
        assert isinstance(archive, Archive)
        archive.save(self.path)


def _twice(rank: int, folder: Path) -> None:
    """Fill and refresh on one of two processes."""
    path = folder / f"rank{rank}.safetensors"
    fit(folder, refresh(refresh_evaluations=60), SaveOwn(path), world=2)


def test_two_processes_keep_the_archive_that_one_keeps(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert end_ranks(start_ranks(_twice, two)) == [0, 0]
    fit(one, refresh(refresh_evaluations=60))
    assert kept(one).read_bytes() == kept(two).read_bytes() == alone(tmp_path, FILL, 60)
    first, second = ((two / f"rank{rank}.safetensors").read_bytes() for rank in range(2))
    assert first == second


def _slowly(rank: int, folder: Path) -> None:
    """Let the first process take longer for the fill, and for the figures, than any wait may."""
    generator = SlowGenerator(0 if rank else 0.35)
    callback = QDRefresh(search=SEARCH_IN_TWOS, evaluations=60)
    fit(folder, callback, generator=generator, world=2, max_epochs=1)


@pytest.mark.slow
def test_no_wait_is_as_long_as_the_work(tmp_path: Path) -> None:
    # 15 chunks of the calibration take 5 seconds, and so do the images of 30 elites.
    assert end_ranks(start_ranks(_slowly, tmp_path, timeout=4)) == [0, 0]
    elites = len(Archive.load(kept(tmp_path)))
    assert elites >= 28  # in pairs, 14 times 0.35 seconds
    assert len(list((tmp_path / RUN / "figures").iterdir())) == 2


def _until_killed(rank: int, folder: Path, world: int) -> None:
    """Fill, train an epoch, and search on slowly."""
    callback = refresh(save_every_seconds=0)
    fit(folder, callback, generator=SlowGenerator(0.02), world=world)


def _again(rank: int, folder: Path, world: int) -> None:
    """Go on from the last checkpoint, and note how much was to be done."""
    generator = SlowGenerator()
    fit(folder, refresh(), generator=generator, world=world, resume=True)
    (folder / f"rows{rank}.txt").write_text(str(generator.rows))


@pytest.mark.slow
@pytest.mark.parametrize(("world", "victim", "later"), [(1, 0, 1), (2, 0, 2)])
def test_a_refresh_goes_on_where_kill_9_has_ended_it(
    world: int, victim: int, later: int, tmp_path: Path
) -> None:
    processes = start_ranks(_until_killed, tmp_path, world, world=world)
    while evaluations_in(tmp_path) < 1_000 and processes[victim].is_alive():
        time.sleep(0.02)
    processes[victim].kill()
    codes = end_ranks(processes)
    assert codes.pop(victim) == -signal.SIGKILL
    assert codes == [1] * (world - 1)
    for rank in {*range(world)} - {victim}:
        sentence = (tmp_path / f"stopped{rank}.txt").read_text()
        assert sentence.startswith("ProcessError: Another process of this run is gone")
        assert "\n" not in sentence
    reached = evaluations_in(tmp_path)
    assert 1_000 <= reached < FILL + REFRESH

    assert end_ranks(start_ranks(_again, tmp_path, later, world=later)) == [0] * later
    assert kept(tmp_path).read_bytes() == alone(tmp_path, FILL, REFRESH)
    rows = sum(int((tmp_path / f"rows{rank}.txt").read_text()) for rank in range(later))
    # What was left, and a little for pools, steps and figures.
    assert FILL + REFRESH - reached <= rows < FILL + REFRESH - reached + 400


class StopGenerator(SlowGenerator):
    """Is stopped after so many latents, as by a key."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def forward(self, latents: Tensor) -> Tensor:
        """Draw, or stop."""
        if self.rows >= self.after:
            raise RuntimeError("stop")
        return super().forward(latents)


def test_a_fill_goes_on_in_its_folder_and_from_its_file(tmp_path: Path) -> None:
    for folder in (tmp_path / "same", tmp_path / "old"):
        callback = refresh(evaluations=410, save_every_seconds=0)
        with pytest.raises(RuntimeError, match="stop"):
            fit(folder, callback, generator=StopGenerator(310))
        assert evaluations_in(folder) == 300
    whole = alone(tmp_path, 410)  # which ends at 400: an iteration has 20
    search = QDSearch(PatchGenerator(), PatchGuidance(), SEARCH)
    search.run(410)
    search.save(tmp_path / "last.safetensors", until=410)
    changes: dict[str, object] = {"evaluations": 410, "every_n_epochs": None}
    for name, extra in (
        ("same", {}),
        ("new", {"archive": str(kept(tmp_path / "old"))}),
        # The default number of evaluations; the file knows better where its fill was to end.
        ("other", {"archive": str(kept(tmp_path / "old")), "evaluations": 20_000}),
        # Stopped when all was found, and only the last file not written.
        ("last", {"archive": str(tmp_path / "last.safetensors")}),
    ):
        generator = SlowGenerator()
        fit(tmp_path / name, refresh(**(changes | extra)), generator=generator, max_epochs=1)
        assert kept(tmp_path / name).read_bytes() == whole
        assert generator.rows < 250  # 100 that were left, and figures


def test_a_checkpoint_of_an_unfinished_refresh_makes_up_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    callback = refresh(refresh_evaluations=400, every_n_epochs=1)
    with pytest.raises(RuntimeError, match="stop"):
        fit(folder, callback, generator=StopGenerator(350), save_on_exception=True)
    kept(folder).unlink(missing_ok=True)
    # Neither half an iteration nor a lost refresh: epochs 1 and 2 both have theirs.
    fit(folder, refresh(refresh_evaluations=400, every_n_epochs=1), max_epochs=3, resume=True)
    assert kept(folder).read_bytes() == alone(tmp_path, FILL, 400, 400)


def test_a_refresh_goes_on_from_the_folder_of_its_checkpoint(tmp_path: Path) -> None:
    """A stopped run that is resumed as another version finds what the first had searched."""
    changes: dict[str, object] = {"refresh_evaluations": 400, "every_n_epochs": 1}
    stopped = tmp_path / "stopped"
    with pytest.raises(RuntimeError, match="stop"):
        fit(
            stopped,
            refresh(**changes, save_every_seconds=0),
            generator=StopGenerator(450),
            save_on_exception=True,
        )
    reached = evaluations_in(stopped)
    assert FILL < reached < FILL + 400
    whole = alone(tmp_path, FILL, 400, 400)
    rows = []
    for name in ("with", "without"):
        generator = SlowGenerator()
        fit(tmp_path / name, refresh(**changes), generator=generator, max_epochs=3, resume=stopped)
        assert kept(tmp_path / name).read_bytes() == whole
        rows.append(generator.rows)
        kept(stopped).unlink(missing_ok=True)
    assert rows[1] - rows[0] == reached - FILL


def test_until_its_turn_comes_the_file_stays_ahead_of_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fit(folder, refresh(), max_epochs=1)  # last.ckpt is of the fill
    ahead = QDSearch(PatchGenerator(), PatchGuidance(), SEARCH)
    ahead.run(FILL + 900)
    ahead.save(kept(folder))
    own = tmp_path / "own.safetensors"
    # Epoch 1 has no refresh after it yet, but the next fit may.
    fit(folder, refresh(every_n_epochs=5), SaveOwn(own), max_epochs=2, resume=True)
    assert Archive.load(own).metadata.evaluations == FILL
    assert evaluations_in(folder) == FILL + 900


def _with_own_file(rank: int, folder: Path) -> None:
    """Begin with the archive of this process."""
    archive = str(folder / f"own{rank}.safetensors")
    fit(folder, QDRefresh(search=SEARCH, archive=archive), world=2)


def test_processes_with_different_archives_stop(tmp_path: Path) -> None:
    search = QDSearch(PatchGenerator(), PatchGuidance(), SEARCH)
    for rank in range(2):
        search.run(60)
        search.archive.save(tmp_path / f"own{rank}.safetensors")
    assert end_ranks(start_ranks(_with_own_file, tmp_path)) == [1, 1]
    first, second = ((tmp_path / f"stopped{rank}.txt").read_text() for rank in range(2))
    assert first == second
    assert first.startswith("ProcessError: The archive of process 1 differs from that of process 0")


def _on_a_full_disk(rank: int, folder: Path) -> None:
    """Fill, with room for no more than a small file once the first archive is written."""

    class Full(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    callback = refresh(every_n_epochs=1, save_every_seconds=0)
    fit(folder, callback, Full(), world=2)


def test_a_full_disk_stops_all_and_leaves_the_former_archive(tmp_path: Path) -> None:
    assert end_ranks(start_ranks(_on_a_full_disk, tmp_path)) == [1, 1]
    first, second = ((tmp_path / f"stopped{rank}.txt").read_text() for rank in range(2))
    assert first.startswith("ArchiveError: The archive cannot be saved to")
    assert second.startswith("ProcessError: Process 0 of this run has stopped: The archive cannot")
    assert kept(tmp_path).read_bytes() == alone(tmp_path, FILL)
