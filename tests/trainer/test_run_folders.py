"""Where runs lie: numbers are those of fits, and what looks at a fit lies in the fit's folder."""

import json
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from jsonargparse import dict_to_namespace

from qdgs_lightning.cli.main import main
from qdgs_lightning.trainer.run_folders import free_folder, placed, read_record, run_of
from tests.cli.test_main import CONFIG, WANDB, metric, runs, saved, written
from tests.reporting.test_wandb_offline import synced
from tests.wandb_server import server_that_takes_all


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["qdgs"])
    monkeypatch.setenv("WANDB_MODE", "")  # so that monkeypatch undoes what the command sets


def test_a_test_lies_in_the_run_that_it_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", written(CONFIG)])
    (run,) = runs()
    (checkpoint,) = run.glob("checkpoints/*.ckpt")
    for name in ("test", "test_1"):
        words = ["--config", str(run / "config.yaml"), "--ckpt_path", str(checkpoint)]
        main(["test", *words])
        folder = run / name
        assert capsys.readouterr().out.endswith(f"Run folder: {folder}\n")
        assert metric(folder, "test/lr") == pytest.approx(0.05)
        assert metric(folder, "step") == 2  # that of the checkpoint
        record = read_record(folder)
        assert record["command"] == "test"
        assert record["checkpoint"] == str(checkpoint)
        assert record["experiment"] == read_record(run)["experiment"] == "boring/version_0"
    logger = saved(run / "test")["trainer"]["logger"][0]["init_args"]
    assert (logger["save_dir"], logger["version"]) == ("runs", None)  # a fit with it is a new one
    assert read_record(run)["command"] == "fit"
    assert runs() == [run]


def test_a_test_without_a_checkpoint_takes_no_number() -> None:
    config = written(CONFIG)
    for _ in range(2):
        with pytest.warns(UserWarning, match="No checkpoint was given"):
            main(["test", "--config", config])
    main(["fit", "--config", config])
    found = sorted(path.name for path in Path("runs/boring").iterdir())
    assert found == ["test", "test_1", "version_0"]


def test_without_a_logger_a_test_lies_in_the_run_too() -> None:
    config = written(
        CONFIG.partition("  logger:")[0] + "  logger: false\n  default_root_dir: out\n"
    )
    main(["fit", "--config", config])
    (checkpoint,) = Path("out/checkpoints").glob("*.ckpt")
    main(["test", "--config", config, "--ckpt_path", str(checkpoint)])
    assert read_record(Path("out"))["command"] == "fit"
    assert read_record(Path("out/test"))["command"] == "test"


def test_a_checkpoint_is_of_a_run_if_there_is_a_configuration(tmp_path: Path) -> None:
    assert run_of(None) is None
    assert run_of("s3://bucket/checkpoints/last.ckpt") is None
    assert run_of(tmp_path / "checkpoints" / "last.ckpt") is None
    (tmp_path / "config.yaml").touch()
    assert run_of(tmp_path / "checkpoints" / "last.ckpt") == tmp_path
    assert run_of(tmp_path / "elsewhere" / "last.ckpt") is None


def test_a_version_that_is_given_is_kept_unless_a_run_says_otherwise(tmp_path: Path) -> None:
    values = {"save_dir": "runs", "name": "a", "version": "mine"}
    entry = {"class_path": "CSVLogger", "init_args": values}
    logger = dict_to_namespace(entry)
    assert placed(logger, None, "test") == logger
    (inside,) = placed([logger], tmp_path, "test")
    assert Path(inside.init_args.save_dir, inside.init_args.name) == tmp_path
    assert inside.init_args.version == "test"
    assert logger.init_args.version == "mine"
    assert placed(True, tmp_path, "test") is True


def test_free_folders_are_numbered(tmp_path: Path) -> None:
    for name in ("test", "test_1", "test_2"):
        assert free_folder(tmp_path, "test").name == name
        (tmp_path / name).mkdir()


def test_a_test_goes_on_in_the_wandb_run_of_its_fit(tmp_path: Path) -> None:
    main(["fit", "--config", written(CONFIG + WANDB)])
    (run,) = runs()
    (checkpoint,) = run.glob("checkpoints/*.ckpt")
    (record,) = Path("runs/wandb").glob("offline-run-*")
    while f"{datetime.now():%Y%m%d_%H%M%S}" in record.name:  # W&B names folders by the second
        time.sleep(0.05)
    main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", str(checkpoint)])
    wandb_id = read_record(run)["wandb_id"]
    assert wandb_id == read_record(run / "test")["wandb_id"]
    assert len(list(Path("runs/wandb").glob(f"offline-run-*-{wandb_id}"))) == 2
    with server_that_takes_all() as taken:
        synced(tmp_path, taken.address)
    assert {each["name"] for each in taken.runs} == {wandb_id}
    assert {each["groupName"] for each in taken.runs if each["groupName"]} == {"boring/version_0"}
    assert {each["jobType"] for each in taken.runs if each["jobType"]} == {"fit"}
    tags = next(each["tags"] for each in taken.runs if each["tags"])
    assert set(tags) == {"BoringTask", "BoringData"}
    configs = [json.loads(each["config"]) for each in taken.runs if each["config"]]
    assert "runs/boring/version_0" in {each.get("run_folder", {}).get("value") for each in configs}
    tested = [line for line in taken.history if "test/loss" in line]
    assert [line["trainer/global_step"] for line in tested] == [2]


@pytest.mark.parametrize(
    ("moved", "kept_in"),
    [
        ({}, "project/runs/wandb"),
        ({"project": "other"}, "other/runs/wandb"),
        ({"project/runs/boring/version_0": "kept"}, "project/runs/wandb"),
        ({"project/runs/boring/version_0": "kept", "project": "gone"}, "kept/wandb"),
    ],
    ids=["in place", "project moved", "run moved", "run moved and project gone"],
)
def test_a_test_from_another_folder_leaves_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: dict[str, str], kept_in: str
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    main(["fit", "--config", written(CONFIG + WANDB)])
    run = runs()[0].absolute()
    for before, after in moved.items():
        (tmp_path / before).rename(tmp_path / after)
        if run.is_relative_to(tmp_path / before):
            run = tmp_path / after / run.relative_to(tmp_path / before)
    (tmp_path / "elsewhere" / "runs" / "wandb").mkdir(parents=True)  # of other runs
    monkeypatch.chdir(tmp_path / "elsewhere")
    (checkpoint,) = run.glob("checkpoints/*.ckpt")
    main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", str(checkpoint)])
    wandb_id = read_record(run)["wandb_id"]
    assert wandb_id == read_record(run / "test")["wandb_id"]
    found = {each.parent for each in tmp_path.rglob(f"offline-run-*-{wandb_id}")}
    of_fit = tmp_path / ("gone" if "gone" in moved.values() else kept_in.partition("/")[0])
    assert found == {of_fit / "runs" / "wandb", tmp_path / kept_in}
    assert [path for path in Path().rglob("*") if path.is_file()] == []


def test_the_default_logger_of_a_test_writes_below_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["fit", "--config", written(CONFIG.partition("  logger:")[0])])
    (run,) = (path.absolute() for path in Path("lightning_logs").iterdir())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (checkpoint,) = run.glob("checkpoints/*.ckpt")
    main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", str(checkpoint)])
    (record,) = run.glob("*/**/run.json")
    assert read_record(record.parent)["command"] == "test"
    assert not list(Path().iterdir())


def test_a_resumed_fit_is_of_the_same_experiment() -> None:
    main(["fit", "--config", written(CONFIG)])
    (checkpoint,) = runs()[0].glob("checkpoints/*.ckpt")
    words = ["--ckpt_path", str(checkpoint), "--trainer.max_epochs", "2"]
    main(["fit", "--config", "config.yaml", *words])
    first, second = map(read_record, runs())
    assert first["experiment"] == second["experiment"] == "boring/version_0"
