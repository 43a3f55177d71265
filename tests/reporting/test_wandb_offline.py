"""Offline runs of W&B: below their folder, whole after a move, and sent from where they went."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from qdgs_lightning.reporting.loggers import log_csv
from qdgs_lightning.reporting.wandb_runs import forget_run, keep_wandb_below, set_for_run
from qdgs_lightning.trainer.trainer_cli import TrainerCLI
from tests.cli.test_main import CONFIG, WANDB
from tests.wandb_server import server_that_takes_all


class LogsTable(Callback):
    """Shows a table."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log it."""
        path = Path("table.csv")
        path.write_text("bin,images\nred,3\n")
        log_csv(trainer, "pool/table", path, step=trainer.global_step)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cluster").mkdir()
    monkeypatch.chdir(tmp_path / "cluster")
    monkeypatch.setattr(sys, "argv", ["qdgs"])
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DATA", "CACHE"):
        monkeypatch.delenv(f"WANDB_{name}_DIR", raising=False)
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    monkeypatch.setenv("WANDB_MODE", "")  # so that monkeypatch undoes what the command sets


def synced(folder: Path, address: str) -> None:
    """Run `wandb sync` in a folder with a copy of ``runs``, as on a machine of another home."""
    other = {"HOME": str(folder / "home"), "WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": address}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "XDG_"))}
    (folder / "home").mkdir()
    records = [str(path.relative_to(folder)) for path in folder.glob("runs/wandb/offline-run-*")]
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *records],
        cwd=folder,
        env=kept | other,
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("policy", ["mutable", "immutable"])
def test_an_offline_run_that_was_moved_is_sent_whole(policy: str, tmp_path: Path) -> None:
    logger = WANDB.replace("boring}", f"boring, log_model: true, add_file_policy: {policy}}}")
    end = "  callbacks: [tests.reporting.test_wandb_offline.LogsTable]\n"
    Path("config.yaml").write_text(CONFIG + logger + end)
    TrainerCLI(["fit", "--config", "config.yaml"])
    (run,) = Path("runs/boring").iterdir()
    (checkpoint,) = run.glob("checkpoints/*.ckpt")
    expected = {
        "model.ckpt": checkpoint.read_bytes(),
        "config.yaml": (run / "config.yaml").read_bytes(),
    }
    assert not [path for path in (tmp_path / "home").rglob("*") if path.name.startswith("tmp")]
    assert {path.name for path in Path.cwd().iterdir()} == {"config.yaml", "runs", "table.csv"}
    moved = tmp_path / "laptop"
    moved.mkdir()
    Path("runs").rename(moved / "runs")
    with server_that_takes_all() as taken:
        synced(moved, taken.address)
    found = {name.rpartition("/")[2]: content for name, content in taken.artifacts.items()}
    assert json.loads(found.pop("table.table.json"))["data"] == [["red", 3]]
    assert found == expected
    assert any("train/loss" in line for line in taken.history)


def test_a_variable_of_the_user_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", "mine")
    keep_wandb_below(tmp_path / "runs")
    assert os.environ["WANDB_DATA_DIR"] == "mine"
    assert os.environ["WANDB_CACHE_DIR"] == str(tmp_path / "runs/wandb/cache")
    keep_wandb_below(tmp_path / "others")  # of a second run in this process
    assert os.environ["WANDB_CACHE_DIR"] == str(tmp_path / "others/wandb/cache")
    forget_run()
    assert os.environ["WANDB_DATA_DIR"] == "mine"
    assert "WANDB_CACHE_DIR" not in os.environ


def test_variables_are_forgotten_unless_somebody_has_changed_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    set_for_run({"WANDB_RUN_GROUP": "ours"})
    monkeypatch.setenv("WANDB_RUN_GROUP", "theirs")
    forget_run()
    assert os.environ["WANDB_RUN_GROUP"] == "theirs"


@pytest.mark.parametrize("debug", [False, True])
def test_an_offline_run_says_in_one_line_how_to_send_it(debug: bool) -> None:
    """In a process of its own: W&B reads its environment once."""
    Path("config.yaml").write_text(CONFIG + WANDB)
    here = str(Path(__file__).parents[2])
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "QDGS_"))}
    kept |= {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "qdgs_lightning", "fit", "--config", "config.yaml"],
        env=kept | ({"QDGS_DEBUG": "1"} if debug else {}) | {"NETRC": os.devnull},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    (record,) = Path("runs/wandb").glob("offline-run-*")
    told = [line for line in done.stderr.splitlines() if "wandb" in line.lower()]
    if debug:
        assert sum("Run summary:" in line for line in told) == 1
        assert sum(f"wandb sync {record}" in line for line in told) == 1
    else:
        assert told == [f"W&B run, offline; send it by: wandb sync {record}"]
