"""The identities of a run are shown when they are made, and a run offline holds all of it."""

import base64
import csv
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch import Tensor
from torch.optim import SGD
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from qdgs_lightning.callbacks import IdentityFigures
from qdgs_lightning.cli.main import main
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.identities import FileEdits, IdentityTable
from qdgs_lightning.reporting.figures import identity_sheet
from qdgs_lightning.sampling import ArchiveSampler, MeasureBins, PriorSampler
from qdgs_lightning.search import Archive
from tests.boring import BoringData, BoringTask
from tests.faces import write_benchmark
from tests.generators.stylegan2.official_files import official_file
from tests.generators.stylegan2.parity import Parity
from tests.identities.identity_toys import HALVES, Recorder, Refresh, found_archives, toy_data
from tests.toys import ToyGenerator

SKIN = MeasureBins(measure=0, intervals=HALVES, names=["dark", "light"])
AGE = MeasureBins(measure=1, intervals=[(-1, -0.5), (-0.5, 9)], names=["unborn", "born"])


@pytest.fixture(scope="module")
def archives() -> list[Archive]:
    return found_archives()


class Stepping(Recorder):
    """Takes an optimiser step for every batch, so that steps are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Keep it."""
        super().training_step(batch, batch_idx)
        self.optimizers().step()  # type: ignore[union-attr]

    def configure_optimizers(self) -> SGD:  # type: ignore[override]
        """Change nothing."""
        return SGD(self.parameters(), lr=0.0)


def fit(folder: Path, archives: list[Archive], **options: Any) -> Recorder:
    recorder = Stepping()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=len(archives),
        reload_dataloaders_every_n_epochs=1,
        logger=CSVLogger(folder, name="run", version="0"),
        callbacks=[Refresh([*archives, archives[-1]]), IdentityFigures(identities=9)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    data = toy_data(sampler=ArchiveSampler(bins=[SKIN, AGE]), latents_per_identity=3)
    trainer.fit(recorder, datamodule=data)
    return recorder


def as_drawn(latents: Tensor) -> Tensor:
    images: Tensor = ToyGenerator()(latents)
    return (255 * images).round() / 255


def expected_sheet(table: IdentityTable, path: Path) -> Path:
    """Build the sheet of four bins, two identities each, from the table alone."""
    names = ["dark unborn", "dark born", "light unborn", "light born"]
    images, titles = [], []
    for index, name in enumerate(names):
        classes = sorted(
            {int(c) for c, b in zip(table.classes, table.bins, strict=True) if b == index}
        )
        for c in classes[:2]:
            titles.append(f"{name}\nidentity {c}")
            images.append(as_drawn(table.latents[table.classes == c]))
        if "unborn" in name:
            assert not classes
            titles.append(f"{name}\nnone")
            images.append(torch.empty(0, 3, 2, 2))
    total = len(set(table.classes.tolist()))
    heading = f"4 of {total} identities"
    identity_sheet(images, titles=titles, heading=heading).savefig(path)
    return path


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.filterwarnings("ignore:There are no identities of")
def test_identities_are_shown_whenever_new_ones_are_made(
    tmp_path: Path, archives: list[Archive]
) -> None:
    first, second = archives[0], archives[2]
    recorder = fit(tmp_path, [first, first, second])
    steps = [0, 2 * len(recorder.batches[0])]  # nothing new in the second epoch
    folder = tmp_path / "run" / "0"
    sheets = sorted((folder / "figures").iterdir())
    assert [sheet.name for sheet in sheets] == [
        f"pool-identity_sheet_step{step:07d}.png" for step in steps
    ]
    for sheet, epoch in zip(sheets, (0, 2), strict=True):
        expected = expected_sheet(recorder.tables[epoch], tmp_path / "expected.png")
        assert np.array_equal(pixels(sheet), pixels(expected))
    assert not np.array_equal(pixels(sheets[0]), pixels(sheets[1]))
    for step, epoch in zip(steps, (0, 2), strict=True):
        with (folder / f"identities_step{step:07d}.csv").open() as file:
            rows = list(csv.DictReader(file))
        table = recorder.tables[epoch]
        latents = [int((table.bins == index).sum()) for index in range(4)]
        assert [row["bin"] for row in rows] == [
            "dark unborn",
            "dark born",
            "light unborn",
            "light born",
        ]
        assert [int(row["latents"]) for row in rows] == latents
        assert [int(row["images"]) for row in rows] == latents
        assert [3 * int(row["identities"]) for row in rows] == latents


def test_each_latent_is_shown_under_every_edit(tmp_path: Path) -> None:
    path = tmp_path / "ffhq.pkl"
    path.write_bytes(official_file(Parity("sg2_res32_orig")))
    generator = StyleGAN2Generator(path)
    generator.prepare()
    edits = torch.randn(7, generator.w_std.numel(), generator=torch.Generator().manual_seed(0))
    torch.save(edits, tmp_path / "edits.pt")
    data = toy_data(
        generator=generator,
        sampler=PriorSampler(bins=[MeasureBins(measure=0, intervals=[(-9, 9)])], evaluations=9),
        identities=2,
        latents_per_identity=3,
        edits=FileEdits(tmp_path / "edits.pt"),
        image_size=32,
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        reload_dataloaders_every_n_epochs=1,
        logger=CSVLogger(tmp_path, name="run", version="0"),
        callbacks=[IdentityFigures(identities=1)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Stepping(), datamodule=data)
    (shown,) = (tmp_path / "run" / "0" / "figures").iterdir()
    # Two latents and a part of the third, seven images each.
    latents = data.identities().latents[[0] * 7 + [1] * 7 + [2] * 4]
    with torch.no_grad():
        drawn = generator(latents + edits[[*range(7), *range(7), *range(4)]])
    truth = identity_sheet(
        [drawn.mul(255).round() / 255],
        titles=["0:0\nidentity 0, 18 of 21"],
        edits=7,
        heading="1 of 2 identities, each latent under 7 edits",
    )
    truth.savefig(tmp_path / "truth.png")
    apart = pixels(shown).astype(int) - pixels(tmp_path / "truth.png").astype(int)
    assert abs(apart).max() <= 1  # rounding, in batches of another size
    with (tmp_path / "run" / "0" / "identities_step0000000.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row == {"bin": "0:0", "identities": "2", "latents": "6", "images": "42"}


@pytest.mark.filterwarnings("ignore:There are no identities of")
def test_a_trial_run_shows_nothing(tmp_path: Path, archives: list[Archive]) -> None:
    fit(tmp_path, archives[:1], fast_dev_run=True)
    assert not list(tmp_path.rglob("*.png"))
    assert not list(tmp_path.rglob("*.csv"))


def test_where_there_are_no_identities_it_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        callbacks=[IdentityFigures()],
    )
    with pytest.raises(QDGSError, match="BoringData makes none"):
        trainer.fit(BoringTask(), BoringData())
    with pytest.raises(QDGSError, match="one identity or more to show, not 0"):
        IdentityFigures(identities=0)


CONFIG = """
model:
  class_path: FaceRecognizer
  init_args:
    backbone:
      class_path: IResNet
      init_args: {layers: [1, 1, 1, 1], width: 2, embedding_dim: 8, image_size: 16}
    head: ArcFace
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.01}}
    num_bootstrap: 10
data:
  class_path: SyntheticFaceDataModule
  init_args:
    generator: tests.toys.ToyGenerator
    guidance: tests.toys.ToyGuidance
    sampler:
      class_path: ArchiveSampler
      init_args:
        bins: [{measure: 0, intervals: [[-9, 0.5], [0.5, 9]], names: [dark, light]}]
    identities: 4
    align: none
    image_size: 16
    batch_size: 4
    num_workers: 0
    benchmarks: .
    validate_on: [rfw_asian, rfw_indian]
    test_on: [rfw_asian, rfw_indian]
trainer:
  max_epochs: 1
  accelerator: cpu
  num_sanity_val_steps: 0
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
  reload_dataloaders_every_n_epochs: 1
  logger:
    - class_path: CSVLogger
      init_args: {save_dir: runs, name: toy}
    - class_path: WandbLogger
      init_args: {save_dir: runs, project: toy, log_model: true}
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {save_last: true}
    - class_path: IdentityFigures
    - class_path: QDRefresh
      init_args:
        search: {grid: [6, 6], algorithm: map_elites, calibration: 60, emitters: 1, batch_size: 20}
        evaluations: 60
"""


def offline_records(folder: Path) -> list[Record]:
    """Read what a run offline keeps for later.

    The file is a LevelDB log after seven bytes of its own: blocks of 32 KiB, counted with those
    seven; in them pieces of records, each behind its checksum (4 bytes), length (2) and kind (1),
    which is 1 for a whole record and 2, 3 and 4 for the first, a middle and the last piece.
    """
    (path,) = folder.glob("run-*.wandb")
    content, place, record, records = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if -place % 32768 in range(1, 7):  # too little of the block is left for a header
            place += -place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            records.append(Record.FromString(record))
            record = b""
    return records


def test_a_run_offline_holds_figures_archive_and_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    monkeypatch.setenv("WANDB_MODE", "")  # so that monkeypatch undoes what the command sets
    for name, first in (("rfw_asian", 20), ("rfw_indian", 30)):
        write_benchmark(tmp_path / f"{name}.bin", range(first, first + 4), 20, side=16)
    Path("toy.yaml").write_text(CONFIG)
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", "toy.yaml"], ["commit", "-q", "-m", "my experiment"]):
        subprocess.run([*git, *words], check=True)
    main(["fit", "--config", "toy.yaml"])
    wandb.teardown()  # as happens when a process ends; W&B may hold back its file until then
    run = Path("runs/toy/version_0")
    (offline,) = Path("runs/wandb").glob("offline-run-*")
    records = offline_records(offline)
    revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert [r.run.git.commit for r in records if r.HasField("run")] == [revision.strip()]
    config = {
        item.key: json.loads(item.value_json) for record in records for item in record.config.update
    }
    assert config["data"]["init_args"]["identities"] == 4
    keys = {i.key or "/".join(i.nested_key) for record in records for i in record.history.item}
    assert keys >= {
        "qd/coverage",
        "qd/archive_heatmap/filenames",
        "qd/elite_grid/filenames",
        "pool/identity_sheet/filenames",
        "pool/identities_per_bin/nrows",
        "val/rfw/own/disparate_impact",
        "val/rfw/fairness/filenames",
    }
    # Files of a kind by the digest of their content.
    artifacts: dict[str, set[str]] = {}
    for record in records:
        files = [entry.digest for entry in record.artifact.manifest.contents]
        artifacts.setdefault(record.artifact.type, set()).update(files)
    for kind, file in {
        "model": "checkpoints/last.ckpt",
        "archive": "archive.safetensors",
        "config": "config.yaml",
    }.items():
        content = (run / file).read_bytes()
        assert base64.b64encode(hashlib.md5(content).digest()).decode() in artifacts[kind]
        assert content in {
            path.read_bytes() for path in Path("staging").rglob("*") if path.is_file()
        }
    # Whoever gets the artifact can go on from it.
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 0
    with (run / "identities_step0000000.csv").open() as table:
        assert [row["bin"] for row in csv.DictReader(table)] == ["dark", "light"]
