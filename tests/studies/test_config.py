"""Configurations of tables: what is read, what is kept of it in a run, and what is compared."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.studies.config import fit, keep_settings, read_configs
from qdgs_lightning.studies.runner import TableError
from qdgs_lightning.weights import resolve_weights

BORING: dict[str, Any] = {
    "model": {"class_path": "tests.boring.BoringTask", "init_args": {"lr": 0.1}},
    "data": {"class_path": "tests.boring.BoringData", "init_args": {"size": 8}},
    "trainer": {"max_epochs": 5, "accelerator": "cpu", "log_every_n_steps": 1},
}


class OfTheUser(Callback):
    """Does whatever a user's callback does."""


def _written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no YAML mapping"),
        (b"- a\n", "no YAML mapping"),
        (b"trainer: {a: [\n", r"not YAML in line 2, column 1 \("),
        (b"\x89PNG", "is no text"),
        (b"trainer: null\n", "no mapping trainer:"),
        (b"data: {init_args: 3}\n", r"no mapping data\.init_args"),
        (b"model: null\n", r"no mapping model\.init_args"),
        (b"trainer: {callbacks: [3]}\n", "callback without a class_path"),
        (b"trainer: {callbacks: {init_args: {}}}\n", "callback without a class_path"),
    ],
)
def test_what_is_no_configuration_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    base = _written(tmp_path / "base.yaml", BORING)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_bytes(content)
    with pytest.raises(QDGSError, match=f"(?s)overlay.yaml.*{message}"):
        read_configs([base, overlay])


@pytest.mark.parametrize(
    ("callbacks", "expected"),
    [
        (None, []),
        ("OfMine", [{"class_path": "OfMine"}]),
        ({"class_path": "OfMine"}, [{"class_path": "OfMine"}]),
        (["OfMine", {"class_path": "Two"}], [{"class_path": "OfMine"}, {"class_path": "Two"}]),
    ],
)
def test_callbacks_may_be_written_in_every_way(
    tmp_path: Path, callbacks: object, expected: object
) -> None:
    base = _written(tmp_path / "base.yaml", BORING)
    overlay = _written(tmp_path / "overlay.yaml", {"trainer": {"callbacks": callbacks}})
    assert read_configs([base, overlay])["trainer"] == BORING["trainer"] | {"callbacks": expected}
    assert read_configs([base]) == BORING


def test_a_run_keeps_the_callbacks_that_change_it(tmp_path: Path) -> None:
    stopping = {"monitor": "train/loss", "stopping_threshold": 1e9}
    callbacks = [
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"},
        {"class_path": "LearningRateMonitor", "init_args": {"logging_interval": "epoch"}},
        {"class_path": "RichProgressBar"},
        {"class_path": "EarlyStopping", "init_args": stopping},
        {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging"},
        f"{__name__}.OfTheUser",
    ]
    content = BORING | {"trainer": BORING["trainer"] | {"callbacks": callbacks}}
    config = read_configs([_written(tmp_path / "base.yaml", content)])
    cli = fit(config, tmp_path / "run")
    kinds = {type(callback) for callback in cli.trainer.callbacks}
    assert {EarlyStopping, EMAWeightAveraging, OfTheUser} <= kinds
    assert cli.trainer.current_epoch == 1  # of five: any loss is below the threshold
    assert not cli.trainer.checkpoint_callbacks
    assert cli.trainer.progress_bar_callback is None


def test_weights_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    configs = {"none": BORING}
    keep_settings(tmp_path, configs, weights={"reader": "shapes_annotator"})
    copy = tmp_path / "reader.safetensors"
    shutil.copy(resolve_weights("shapes_annotator"), copy)
    keep_settings(tmp_path, configs, weights={"reader": str(copy)})
    copy.write_bytes(copy.read_bytes() + b"\0")
    for other in (str(copy), "avatars_reader", None):
        with pytest.raises(TableError, match="another --reader"):
            keep_settings(tmp_path, configs, weights={"reader": other})


def test_settings_of_earlier_versions_go_on_and_name_their_weights_then(tmp_path: Path) -> None:
    keep_settings(tmp_path, {"none": BORING}, weights={})
    keep_settings(tmp_path, {"none": BORING}, weights={"reader": "avatars_reader"})
    with pytest.raises(TableError, match="another --reader"):
        keep_settings(tmp_path, {"none": BORING}, weights={"reader": "shapes_annotator"})
    with pytest.raises(TableError, match="other settings of the arm none"):
        keep_settings(tmp_path, {"none": BORING | {"seed": 1}}, weights={})
