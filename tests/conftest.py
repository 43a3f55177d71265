"""What every test gets: no W&B account, no network, and no run left open."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from qdgs_lightning.reporting.loggers import finish_wandb

# Read when huggingface_hub is imported: it would try for most of a minute, or find what the tester
# downloaded for other work.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = os.devnull

# An example's time says how busy the machine is, not whether the code is right.
settings.register_profile("qdgs", deadline=None)
settings.load_profile("qdgs")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let sums have the order that they have in the workers of tables, whose threads are one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _wandb_without_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Hide the tester's W&B key, and end runs, or the next logger would write into this one's.

    W&B's process ends as well: it takes relative paths from the folder that it was started in.
    """
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no.netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    finish_wandb()
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
