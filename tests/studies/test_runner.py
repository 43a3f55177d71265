"""Jobs of a table end with the command that was interrupted, and clean up behind them."""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from qdgs_lightning.studies.runner import work_off
from qdgs_lightning.utils.atomic_files import replacing


@dataclass(frozen=True)
class Folder:
    """An experiment."""

    output: Path


@dataclass(frozen=True)
class Endless:
    """Writes a file for longer than any test lasts."""

    number: int

    def file(self, experiment: Folder) -> Path:
        """Name the file."""
        return experiment.output / f"made_{self.number}"

    def needs(self, experiment: Folder) -> list[Path]:
        """Need nothing."""
        return []

    def run(self, experiment: Folder) -> None:
        """Write half of the file, say which process this is, and wait."""
        with replacing(self.file(experiment)) as unfinished:
            unfinished.write_text("half")
            (experiment.output / f"pid_{self.number}").write_text(str(os.getpid()))
            time.sleep(600)

    def outcome(self, experiment: Folder) -> str:
        """Say nothing."""
        return ""


def command(folder: Path) -> None:
    """Do what the commands of tables do, three jobs of which wait for two processes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        work_off([Endless(number) for number in range(3)], Folder(folder), processes=2)
    except KeyboardInterrupt:
        sys.exit(130)


@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
def test_an_interruption_of_the_command_alone_ends_its_workers(tmp_path: Path) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=command, args=(tmp_path,))
    parent.start()
    while len(pids := [p.read_text() for p in tmp_path.glob("pid_*")]) < 2 or "" in pids:
        assert parent.is_alive()
        time.sleep(0.1)
    assert parent.pid is not None
    os.kill(parent.pid, signal.SIGINT)
    parent.join(60)
    assert parent.exitcode == 130
    assert not any((Path("/proc") / pid).exists() for pid in pids)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"pid_0", "pid_1", "logs"}  # nothing half-written, and no third job begun
