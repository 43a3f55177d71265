"""A fit whose W&B server falls silent ends in time, and says what became of the run."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer

from qdgs_lightning.reporting.loggers import limit_wandb_finish
from qdgs_lightning.trainer.trainer_cli import TrainerCLI
from tests.cli.test_main import CONFIG, WANDB
from tests.wandb_server import server_that_falls_silent

SENTENCE = r"W&B has not taken the whole run in time, .* by `wandb sync (\S+)`, or set WANDB_FINISH"


class Breaks(Callback):
    """Ends a fit by an error."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise it."""
        raise RuntimeError("broken")


@pytest.fixture(autouse=True)
def _server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["qdgs"])
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "0.5")
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT_RAISES", "")  # so that what a fit sets is undone
    monkeypatch.delenv("WANDB_FINISH_TIMEOUT_RAISES")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    with server_that_falls_silent() as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        yield


def _fit(end: str = "") -> None:
    wandb_logger = WANDB.replace("boring}", "boring, version: run}")
    Path("config.yaml").write_text(CONFIG + wandb_logger + end)
    TrainerCLI(["fit", "--config", "config.yaml"])


def test_a_w_and_b_that_falls_silent_does_not_hold_up_the_end() -> None:
    with pytest.warns(UserWarning, match=SENTENCE) as warned:
        _fit()
    found = [re.search(SENTENCE, str(warning.message)) for warning in warned]
    (named,) = [match[1] for match in found if match]
    wandb.teardown()  # as happens when a process ends; W&B has its file in memory until then
    (log,) = Path(named).glob("run-*.wandb")
    assert b"train/loss" in log.read_bytes()


def test_nor_the_end_of_a_fit_that_breaks() -> None:
    with pytest.warns(UserWarning, match=SENTENCE), pytest.raises(RuntimeError, match="broken"):
        _fit("  callbacks: [tests.reporting.test_wandb_lost.Breaks]\n")


def test_the_end_of_a_run_is_limited_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit_wandb_finish()
    assert wandb.setup().settings.finish_timeout == 0.5
    wandb.teardown()
    monkeypatch.delenv("WANDB_FINISH_TIMEOUT")
    limit_wandb_finish()
    assert wandb.setup().settings.finish_timeout == 300
