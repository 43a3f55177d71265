"""The configuration of a run, read from other folders than the one that it was started in."""

import sys
from pathlib import Path

import pytest
import yaml

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


NEEDING = CONFIG.replace(
    "tests.boring.BoringData",
    "tests.parsing.test_saved_configs.FileData\n  init_args: {file: data/file, weights: data/w.pt}",
)


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
