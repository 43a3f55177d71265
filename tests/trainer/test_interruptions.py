"""Ctrl-C ends every command with what is kept and the line that goes on, and status 130."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from qdgs_lightning.cli.main import main
from qdgs_lightning.parsing import rooms
from qdgs_lightning.trainer.interruptions import (
    Interrupted,
    ended_by_terminate,
    line,
    saying_what_is_kept,
    terminate_left_to_slurm,
)
from qdgs_lightning.utils.checkpoint_io import read_checkpoint
from tests.cli.test_main import CONFIG, written
from tests.doctor.test_run import SEARCH

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# As `srun` sets them for a job of one process.
SLURM = {
    "SLURM_JOB_ID": "12345",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


def interrupted(
    *words: str,
    once: str = "",
    said: str = "",
    by: signal.Signals = signal.SIGINT,
    environment: dict[str, str] | None = None,
) -> str:
    """Send a signal to a command at work; return its last sentence.

    Args:
        words: The command.
        once: Pattern of files that are there when it is at work; empty for none.
        said: What it has said on standard error by then.
        by: The signal.
        environment: Variables beside those of this process.
    """
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed below)
    process = subprocess.Popen(
        [sys.executable, "-m", "qdgs_lightning", *words],
        stdout=subprocess.DEVNULL,
        stderr=errors,
        text=True,
        # A shell starts what is in its background deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        | (environment or {}),
    )

    def heard() -> str:
        errors.seek(0)
        return errors.read()

    def at_work() -> bool:
        return (not once or any(Path().glob(once))) and said in heard()

    until = time.monotonic() + 100
    while not at_work() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(by)
    process.wait(timeout=100)
    told = heard()
    errors.close()
    assert process.returncode == 130, told
    assert "Traceback" not in told
    return told.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("by", "environment"),
    [(signal.SIGINT, {}), (signal.SIGTERM, {}), (signal.SIGTERM, SLURM)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM in SLURM"],
)
def test_a_fit_names_its_checkpoint_and_the_line_that_goes_on(
    by: signal.Signals, environment: dict[str, str]
) -> None:
    saving = "  callbacks: [{class_path: ModelCheckpoint, init_args: {save_last: true}}]\n"
    config = written(CONFIG.replace("max_epochs: 1", "max_epochs: 1000000") + saving)
    last = "runs/boring/version_0/checkpoints/last.ckpt"
    told = interrupted("fit", "--config", config, once=last, by=by, environment=environment)
    go_on = f"qdgs fit --config runs/boring/version_0/config.yaml --ckpt_path {last}"
    assert told == f"qdgs: interrupted; {last} is kept; go on with: {go_on}"
    further = str(read_checkpoint(Path(last))["epoch"] + 2)  # some have ended by then
    main([*shlex.split(go_on)[1:], "--trainer.max_epochs", further])


def test_a_test_says_that_its_folder_holds_no_result() -> None:
    words = ["--config", written(CONFIG), "--data.init_args.size", "10000000"]
    told = interrupted("test", *words, once="runs/boring/test/run.json")
    assert told == (
        "qdgs: interrupted; runs/boring/test holds no result of it; start again with: "
        f"qdgs test {' '.join(words)}"
    )


def test_slurm_keeps_the_last_word_on_what_terminate_does_to_a_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handler() -> object:
        with ended_by_terminate(), terminate_left_to_slurm():
            return signal.getsignal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert handler() is signal.default_int_handler
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert handler() is signal.SIG_DFL  # which Lightning's own, and not ours, takes the place of
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_search_says_how_far_its_file_is(by: signal.Signals) -> None:
    config = written(SEARCH.replace("evaluations: 64", "evaluations: 100000000"))
    words = ["search", "--config", config, "--save_every_seconds", "0"]
    told = interrupted(*words, once="archive.safetensors", by=by)
    assert told.startswith("qdgs: interrupted; archive.safetensors keeps ")
    assert told.endswith(
        " of 100,000,000 evaluations; the same line goes on: qdgs search --config config.yaml "
        "--save_every_seconds 0"
    )


def test_an_interruption_of_any_command_says_what_to_type() -> None:
    words = ["--page", "a page.md"]
    for command, kept in (
        ("shapes-table", "jobs that are done are kept; the same line goes on: "),
        ("doctor", "nothing of it is kept; start again with: "),
        ("data verify", "nothing of it is kept; start again with: "),
    ):
        with pytest.raises(Interrupted) as caught, saying_what_is_kept(command, words, {}):
            raise KeyboardInterrupt
        assert str(caught.value) == f"{kept}qdgs {command} --page 'a page.md'"


def test_an_interruption_before_the_work_names_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rooms, "import_rooms", interrupt)
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", "a file.yaml"])
    assert ended.value.code == 130
    told = (
        "qdgs: interrupted; nothing was begun; start again with: qdgs fit --config 'a file.yaml'\n"
    )
    assert capsys.readouterr().err == told


def test_a_fit_within_a_command_does_not_say_how_to_go_on() -> None:
    with (
        pytest.raises(Interrupted, match=r"all arms begin again with: qdgs shapes-demo --arms a$"),
        saying_what_is_kept("shapes-demo", ["--arms", "a"], {}),
    ):
        raise Interrupted("start again with: qdgs fit")


def test_a_search_that_was_stopped_early_has_no_file(tmp_path: Path) -> None:
    values = {"output": tmp_path / "none.safetensors", "evaluations": 9}
    told = r"none\.safetensors was not written yet; start again with: qdgs search"
    with pytest.raises(Interrupted, match=told), saying_what_is_kept("search", [], values):
        raise KeyboardInterrupt
    assert line("doctor", []) == "qdgs doctor"
