"""The configuration of a run, read from other folders than the one that it was started in."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from qdgs_lightning.cli.main import main
from qdgs_lightning.errors import ConfigError
from tests.boring import BoringData
from tests.cli.test_main import CONFIG, metric, saved, written


class FileData(BoringData):
    """Needs files, one by a path, one by a path or a name."""

    def __init__(self, *, file: Path, weights: str, named: str = "plain") -> None:
        super().__init__()
        self.file, self.weights, self.named = file, weights, named

    def prepare_data(self) -> None:
        """Refuse absent files.

        Raises:
            ConfigError: One is not there.
        """
        for path in (self.file, Path(self.weights)):
            if not path.is_file():
                raise ConfigError(f"{path.absolute()} is not there.")
        if self.named != "plain":
            raise ConfigError(f"named is {self.named}.")


class FileCallback(Callback):
    """Needs a file, and writes into a folder."""

    def __init__(self, *, archive: str, folder: str) -> None:
        self.archive, self.folder = Path(archive), Path(folder)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the file into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.archive, self.folder)


NEEDING = CONFIG.replace(
    "tests.boring.BoringData",
    "tests.parsing.test_saved_configs.FileData\n  init_args: {file: data/file, weights: data/w.pt}",
)
CALLBACKS = """  callbacks:
  - class_path: tests.parsing.test_saved_configs.FileCallback
    init_args: {archive: data/a.safetensors, folder: runs/copies}
  - class_path: ModelCheckpoint
    init_args: {dirpath: runs/kept}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and a run; the current folder is another."""
    monkeypatch.setattr(sys, "argv", ["qdgs"])
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    for name in ("data/file", "data/w.pt", "plain"):  # the last is no path, but the name of a kind
        (folder / name).write_text("content")
    monkeypatch.chdir(folder)
    main(["fit", "--config", written(NEEDING)])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def run_the_test_of(run: Path) -> None:
    """Test a run from the current folder; what that writes lies in the run's."""
    (checkpoint,) = (run / "checkpoints").glob("*.ckpt")
    main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", str(checkpoint)])
    assert metric(run / "test", "test/lr") == pytest.approx(0.05)


def test_a_run_is_tested_from_another_folder(project: Path) -> None:
    run = project / "runs" / "boring" / "version_0"
    run_the_test_of(run)
    assert sorted(path.name for path in (project / "runs" / "boring").iterdir()) == ["version_0"]
    assert saved(run)["data"]["init_args"]["file"] == "data/file"  # relative, as it was written


@pytest.mark.parametrize("moved", [False, True])
def test_callbacks_find_their_files_and_write_into_folders_of_the_command(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    monkeypatch.chdir(project)
    Path("data/a.safetensors").write_text("archive")
    main(["fit", "--config", written(NEEDING + CALLBACKS)])
    config = Path("runs", "boring", "version_1", "config.yaml").absolute()
    before = sorted(project.rglob("*"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    if moved:
        config.parent.rename(tmp_path / "kept")
        config = tmp_path / "kept" / "config.yaml"
        before = sorted(project.rglob("*"))
    main(["fit", "--config", str(config)])
    assert Path("runs/copies/a.safetensors").read_text() == "archive"
    assert list(Path("runs/kept").glob("*.ckpt"))
    assert sorted(project.rglob("*")) == before


def test_a_run_is_tested_where_the_whole_project_was_moved(project: Path, tmp_path: Path) -> None:
    project.rename(tmp_path / "moved")
    run_the_test_of(tmp_path / "moved" / "runs" / "boring" / "version_0")


def test_a_run_is_tested_where_its_folder_alone_was_moved(project: Path, tmp_path: Path) -> None:
    (project / "runs" / "boring" / "version_0").rename(tmp_path / "kept")
    run_the_test_of(tmp_path / "kept")


def test_what_is_here_comes_first_and_what_is_nowhere_is_looked_for_here(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = project / "runs" / "boring" / "version_0" / "config.yaml"

    def data() -> dict[str, str]:
        with pytest.raises(SystemExit):
            main(["test", "--config", str(config), "--print_config"])
        printed = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
        return {name: printed[name] for name in ("file", "weights", "named")}

    there = {
        name: str(project / "data" / file) for name, file in (("file", "file"), ("weights", "w.pt"))
    }
    assert data() == there | {"named": "plain"}
    Path("data").mkdir()
    Path("data/file").write_text("another")
    assert data() == there | {"file": "data/file", "named": "plain"}
    Path("data/file").unlink()
    (project / "data" / "file").unlink()
    assert data()["file"] == "data/file"
    with pytest.raises(SystemExit, match=str(tmp_path / "elsewhere" / "data" / "file")):
        main(["test", "--config", str(config)])
