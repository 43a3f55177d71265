"""``qdgs search``: what is left of it after kill -9, and what it says to nonsense."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from torch import Tensor

from qdgs_lightning.cli.main import main
from qdgs_lightning.guidance import Evaluation
from qdgs_lightning.search import Archive
from qdgs_lightning.search.persistence.tree_file import ArchiveError
from qdgs_lightning.utils.atomic_files import reserved
from tests.toys import ToyGuidance

TARGET = 20_000


class InterruptedGuidance(ToyGuidance):
    """Guidance that sends a signal to its own process in one of its calls.

    Args:
        number: The signal; the next one of a process that does not stop is the same.
        calls: In which calls, the first one being that of the calibration.
        once: File that is made by the first process to send it; where it is, none does.
    """

    def __init__(self, number: int, calls: list[int], once: str) -> None:
        super().__init__()
        self.number, self.calls, self.once = number, calls, once
        self.called, self.sends = 0, False

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Send it in the midst of an iteration."""
        self.called += 1
        if self.called in self.calls:
            try:
                Path(self.once).touch(exist_ok=False)
                self.sends = True
            except FileExistsError:
                pass
            if self.sends:
                os.kill(os.getpid(), self.number)
        return super().forward(images, latents)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "search.yaml"
    content = {
        "generator": {"class_path": "tests.toys.ToyGenerator"},
        "guidance": {"class_path": "tests.toys.ToyGuidance"},
        "search": {"grid": [30, 30], "algorithm": "map_elites", "calibration": 64},
        "evaluations": TARGET,
        "accelerator": "cpu",
        "save_every_seconds": 0,
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def evaluations_in(path: Path) -> int:
    """How far the search in a file is; every file that is there at all is whole."""
    return Archive.load(path).metadata.evaluations if path.exists() else 0


def test_killed_at_any_moment_it_ends_with_the_same_file(config: str, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed.safetensors", tmp_path / "whole.safetensors"
    words = ["search", "--config", config, "--output"]
    for least in (1, 5_000):
        with subprocess.Popen(
            [sys.executable, "-m", "qdgs_lightning", *words, str(killed)],
            stdout=subprocess.DEVNULL,
        ) as process:
            while evaluations_in(killed) < least and process.poll() is None:
                time.sleep(0.002)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert least <= evaluations_in(killed) < TARGET
    main([*words, str(killed)])
    main([*words, str(whole)])
    assert TARGET - 180 < evaluations_in(killed) <= TARGET
    assert killed.read_bytes() == whole.read_bytes()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"search.yaml", "killed.safetensors", "whole.safetensors"}


def guided(number: int, calls: list[int], once: Path) -> list[str]:
    """The option that names guidance which interrupts the search."""
    settings = {"number": int(number), "calls": calls, "once": str(once)}
    values = {"class_path": f"{__name__}.InterruptedGuidance", "init_args": settings}
    return ["--guidance", json.dumps(values), "--search.evaluation_batch_size", "64"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_the_first_save_it_keeps_all_whole_iterations(
    config: str, tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped, whole = tmp_path / "stopped.safetensors", tmp_path / "whole.safetensors"
    words = ["search", "--config", config, "--save_every_seconds", "3600", "--evaluations", "1500"]
    # 64 latents calibrate, and an iteration of 180 takes three calls.
    words += guided(number, [6], tmp_path / "sent")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--output", str(stopped)])
    assert ended.value.code == 130
    assert evaluations_in(stopped) == 64 + 2 * 180
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"{stopped} keeps 424 of 1,500 evaluations; the same line goes on: qdgs search" in told
    main([*words, "--output", str(stopped)])
    main([*words, "--output", str(whole)])
    assert stopped.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("calls", [[1], [5, 6]])
def test_an_interruption_of_the_calibration_and_a_second_one_do_not_wait(
    config: str, tmp_path: Path, calls: list[int]
) -> None:
    path = tmp_path / "a.safetensors"
    words = ["search", "--config", config, "--save_every_seconds", "3600", "--output", str(path)]
    with pytest.raises(SystemExit) as ended:
        main([*words, *guided(signal.SIGINT, calls, tmp_path / "sent")])
    assert ended.value.code == 130
    assert not path.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_interrupted_process_of_two_stops_both_and_keeps_the_search(
    config: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    words = ["search", "--config", config, "--save_every_seconds", "3600", "--output", str(path)]
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "qdgs_lightning", *words, "--devices", "2"),
            *guided(signal.SIGINT, [4], tmp_path / "sent"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert 64 < evaluations_in(path) < TARGET


def test_two_processes_grow_the_archive_of_one(config: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    words = ["search", "--config", config, "--evaluations", "1000", "--output"]
    main([*words, str(one)])
    subprocess.run(
        [sys.executable, "-m", "qdgs_lightning", *words, str(two), "--devices", "2"],
        check=True,
        capture_output=True,
    )
    assert one.read_bytes() == two.read_bytes()


def test_a_finished_archive_is_left_alone_and_can_be_grown(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    words = ["search", "--config", config, "--output"]
    main([*words, str(path), "--evaluations", "800"])
    first = path.read_bytes()
    stats = Archive.load(path).stats
    capsys.readouterr()
    main([*words, str(path), "--evaluations", "800"])
    assert path.read_bytes() == first
    assert f"{stats.num_elites} elites of 784 evaluations" in capsys.readouterr().out
    main([*words, str(path), "--evaluations", "2000"])
    main([*words, str(whole), "--evaluations", "2000"])
    assert path.read_bytes() == whole.read_bytes() != first


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--evaluations", "-5"], "evaluations is -5"),
        (["--evaluations", "63"], "budget of 63 evaluations"),
        (["--devices", "0"], "devices is 0"),
        (["--accelerator", "gpuu"], "accelerator is gpuu and devices is 1, which cannot be had"),
        (["--search.seed", "3"], "begun with search.seed=0, not 3"),
        (["--search.grid", "[30, 31]"], "search.grid"),
        (["--search.grid", "[30]"], "1 measures, but the guidance measures 2"),
        (["--search.algorithm", "map_elite"], "map_elites"),
        (["--generator", "tests.toys.BrokenGenerator"], "begun with the generator"),
        (["--guidance.prompt", "other"], "begun with the guidance"),
    ],
)
def test_nonsense_costs_one_sentence_and_no_archive(
    config: str, tmp_path: Path, words: list[str], complaint: str
) -> None:
    path = tmp_path / "a.safetensors"
    main(["search", "--config", config, "--output", str(path), "--evaluations", "300"])
    before = path.read_bytes()
    if "63" in words:
        path.unlink()
    with pytest.raises(SystemExit) as exit_info:
        main(["search", "--config", config, "--output", str(path), *words])
    assert complaint in str(exit_info.value)
    assert "\n" not in str(exit_info.value)
    if "63" not in words:
        assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} <= {"search.yaml", "a.safetensors"}


def test_two_commands_do_not_write_one_archive(config: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    words = ["search", "--config", config, "--output", str(path)]
    taken = reserved(path, ArchiveError)
    with taken, pytest.raises(SystemExit, match="Another process is writing"):
        main(words)
    with reserved(path, ArchiveError):
        two = subprocess.run(
            [sys.executable, "-m", "qdgs_lightning", *words, "--devices", "2"],
            check=False,
            capture_output=True,
            text=True,
        )
    assert two.returncode != 0
    assert "Another process is writing" in two.stderr
    assert "Traceback" not in two.stderr
    assert not path.exists()


def test_a_generator_that_breaks_leaves_the_archive(config: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    words = ["search", "--config", config, "--output", str(path)]
    with pytest.raises(SystemExit, match="BrokenGenerator returned an image that is NaN"):
        main([*words, "--generator", "tests.toys.BrokenGenerator"])
    assert not path.exists()


def test_a_place_or_file_of_another_kind_is_named(config: str, tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_text("no archive")
    for path, complaint in (
        (tmp_path / "search.yaml" / "a.safetensors", "cannot be saved to"),
        (tmp_path, "cannot be saved to .* a folder: name a file"),
        (Path(), r"cannot be saved to \., a folder"),
        (tmp_path / "search.yaml", "give a name that ends in .safetensors"),
        (tmp_path / "other.safetensors", "not a whole archive file"),
    ):
        with pytest.raises(SystemExit, match=complaint):
            main(["search", "--config", config, "--output", str(path)])
    assert (tmp_path / "search.yaml").read_text().startswith("accelerator")


def test_coverage_is_told_of_cells_that_can_be_filled(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.safetensors"
    axes = "{class_path: LatentAxes, init_args: {guidance: tests.toys.ToyGuidance, axes: 2}}"
    words = ["search", "--config", config, "--output", str(path), "--evaluations", "800"]
    main([*words, "--guidance", axes, "--search.grid", "[4, 3, 20, 20]"])
    archive = Archive.load(path)
    told = capsys.readouterr().out.splitlines()
    elites = len(archive)
    pairs = len({tuple(cell) for cell in archive.grid_index[:, :2].tolist()})
    first, prior, of_axes, of_all = told[-4:]
    assert (
        first == f"  coverage {elites / 784:.1%} of what 784 evaluations can fill ({elites} of 784)"
    )
    assert "of the cells inside the prior (" in prior
    assert of_axes == f"  coverage {pairs / 12:.1%} of the cells of red x green ({pairs} of 12)"
    assert of_all == f"  coverage {elites / 4800:.1%} of all cells ({elites} of 4,800)"
