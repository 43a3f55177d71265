"""Figures and files reach the run folder and every logger."""

import os
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from qdgs_lightning.reporting.loggers import (
    keep_wandb_offline_without_key,
    log_figure,
    log_file,
    run_folder,
)


def trainer(*loggers: Logger, folder: Path, fast_dev_run: bool = False) -> Trainer:
    return Trainer(
        logger=list(loggers),
        default_root_dir=folder,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        fast_dev_run=fast_dev_run,
    )


def red_figure() -> Figure:
    figure = Figure(figsize=(2, 1), dpi=50, facecolor=(1, 0, 0))
    figure.text(0.1, 0.4, "red")
    return figure


def assert_is_red_figure(path: Path) -> None:
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape == (50, 100, 3)
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert len(np.unique(pixels)) > 2  # the text is there as well


def tensorboard_events(folder: Path) -> list[Event]:
    """Read event files by their format: length (8 bytes), its checksum (4), data, checksum (4)."""
    events = []
    for path in folder.glob("events.out.*"):
        stream = path.read_bytes()
        while stream:
            length = int.from_bytes(stream[:8], "little")
            events.append(Event.FromString(stream[12 : 12 + length]))
            stream = stream[16 + length :]
    return events


def test_figure_is_a_png_in_the_run_folder(tmp_path: Path) -> None:
    csv = CSVLogger(tmp_path, name="shapes")
    folder = tmp_path / "shapes" / "version_0" / "figures"
    path = log_figure(trainer(csv, folder=tmp_path), "qd/heatmap", red_figure(), step=12)
    assert path == folder / "qd-heatmap_step0000012.png"
    assert_is_red_figure(path)
    assert list(folder.iterdir()) == [path]  # nothing unfinished is left


def test_figure_is_closed(tmp_path: Path) -> None:
    figure = red_figure()
    log_figure(trainer(folder=tmp_path), "key", figure, step=0)
    assert figure.texts == []


def test_figure_reaches_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb_logger = WandbLogger(save_dir=tmp_path)
    loggers = (CSVLogger(tmp_path), wandb_logger)
    log_figure(trainer(*loggers, folder=tmp_path), "qd/grid", red_figure(), step=3)
    (image,) = Path(wandb_logger.experiment.dir).glob("media/images/qd/grid_*.png")
    assert_is_red_figure(image)
    assert wandb_logger.experiment.summary["trainer/global_step"] == 3


def test_figure_reaches_tensorboard(tmp_path: Path) -> None:
    tensorboard = TensorBoardLogger(tmp_path, name="shapes")
    path = log_figure(trainer(tensorboard, folder=tmp_path), "qd/grid", red_figure(), step=3)
    assert path == tmp_path / "shapes/version_0/figures/qd-grid_step0000003.png"
    tensorboard.finalize("success")
    (event,) = (event for event in tensorboard_events(path.parents[1]) if event.summary.value)
    (value,) = event.summary.value
    assert (event.step, value.tag) == (3, "qd/grid")
    assert (value.image.width, value.image.height) == (100, 50)


def test_figure_without_logger_goes_to_the_root(tmp_path: Path) -> None:
    path = log_figure(trainer(folder=tmp_path), "key", red_figure(), step=0)
    assert path == tmp_path / "figures" / "key_step0000000.png"
    assert_is_red_figure(path)


def test_fast_dev_run_writes_nothing(tmp_path: Path) -> None:
    runner = trainer(CSVLogger(tmp_path), folder=tmp_path, fast_dev_run=True)
    assert log_figure(runner, "key", red_figure(), step=0) is None
    assert list(tmp_path.iterdir()) == []


def test_run_folder_is_lightnings_log_dir(tmp_path: Path) -> None:
    runner = trainer(CSVLogger(tmp_path, name="a", version="b"), folder=tmp_path)
    assert run_folder(runner) == Path(str(runner.log_dir)) == tmp_path / "a" / "b"


def test_runs_of_wandb_alone_do_not_share_a_folder(tmp_path: Path) -> None:
    folders = {
        run_folder(trainer(WandbLogger(save_dir=tmp_path, version=version), folder=tmp_path))
        for version in ("run1", "run2")
    }
    assert folders == {tmp_path / "lightning_logs" / run for run in ("run1", "run2")}


def test_file_becomes_a_wandb_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    file = tmp_path / "archive.safetensors"
    file.write_bytes(b"elites")
    wandb_logger = WandbLogger(save_dir=tmp_path)
    log_file(trainer(wandb_logger, folder=tmp_path), file, kind="archive")
    staged = [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]
    assert b"elites" in {path.read_bytes() for path in staged}


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "k" * 40}, "", None),
        ({"WANDB_IDENTITY_TOKEN_FILE": "token"}, "", None),
        ({"WANDB_MODE": "online"}, "", "online"),
        ({}, "machine api.wandb.ai login user password key", None),
        ({}, "machine example.org login user password key", "offline"),
        ({}, "default login anonymous", "offline"),
        ({}, "this is no netrc", "offline"),
        (
            {"WANDB_BASE_URL": "https://wandb.example.org:8443"},
            "machine wandb.example.org:8443 login user password key",
            None,
        ),
    ],
)
def test_wandb_is_offline_only_without_key(
    environment: dict[str, str],
    netrc: str,
    mode: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "netrc"
    file.write_text(netrc)
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    monkeypatch.setenv("WANDB_MODE", "")  # so that monkeypatch undoes what the function sets
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    keep_wandb_offline_without_key()
    assert (os.environ["WANDB_MODE"] or None) == mode
