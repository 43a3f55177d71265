"""The shapes experiment on toys: shared parts, resumption, and the same numbers as by hand."""

import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import yaml

from qdgs_lightning.cli.main import main
from qdgs_lightning.domains.shapes import GROUPS
from qdgs_lightning.domains.shapes.study import _missing
from qdgs_lightning.domains.shapes.study_stages import ArchiveOf, Arm, Experiment, PhaseOne, Run
from qdgs_lightning.studies.runner import end_with_parent
from qdgs_lightning.trainer.trainer_cli import TrainerCLI

CLASSIFIER = {"class_path": "qdgs_lightning.models.ShapeClassifier", "init_args": {"hidden": 4}}
BINS = [
    {"measure": 1, "intervals": [[-1000.0, 0.0], [0.0, 1000.0]]},
    {"measure": 0, "intervals": [[-1000.0, 0.0], [0.0, 1000.0]]},
]
SEARCH = {"grid": [6, 6], "algorithm": "random", "calibration": 60, "emitters": 1, "batch_size": 20}


def _write_config(folder: Path, arm: str) -> None:
    data: dict[str, object] = {"real_epochs": 1, "samples_per_epoch": 16, "batch_size": 8}
    callbacks = []
    if arm != "none":
        sampler: dict[str, object] = {"bins": BINS, "max_repeats": 20}
        if arm == "random":
            sampler["evaluations"] = 100
        else:
            refresh = {"search": SEARCH, "evaluations": 80, "every_n_epochs": 2}
            callbacks = [
                {"class_path": "QDRefresh", "init_args": {**refresh, "refresh_evaluations": 20}}
            ]
        name = "PriorSampler" if arm == "random" else "ArchiveSampler"
        data |= {
            "second_phase": "pool",
            "generator": {"class_path": "tests.patches.PatchGenerator"},
            "guidance": {"class_path": "tests.patches.PatchGuidance"},
            "sampler": {"class_path": name, "init_args": sampler},
        }
    config = {
        "model": {"class_path": "ShapeClassification", "init_args": {"classifier": CLASSIFIER}},
        "data": {"class_path": "ShapesDataModule", "init_args": data},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 4,
            "reload_dataloaders_every_n_epochs": 1,
            "limit_test_batches": 1,
            "callbacks": callbacks,
        },
    }
    (folder / f"shapes_{arm}.yaml").write_text(yaml.safe_dump(config))


def _table(folder: Path, *words: str) -> None:
    main(
        [
            "shapes-table",
            f"--configs={folder}",
            f"--output={folder / 'table'}",
            f"--page={folder / 'shapes.md'}",
            "--biases=[0.9]",
            "--arms=[none,random,qd]",
            "--seeds=1",
            "--annotator=null",
            "--jobs=2",
            *words,
        ]
    )


@pytest.mark.usefixtures("one_thread")
def test_table_shares_parts_resumes_and_equals_fits_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in ("none", "random", "qd"):
        _write_config(tmp_path, arm)
    _table(tmp_path)
    table = tmp_path / "table"
    results = {path.stem: path for path in (table / "results").iterdir()}
    assert results.keys() == {"none_b0.9_s0", "random_b0.9_s0", "qd_b0.9_s0"}
    assert "balanced" in capsys.readouterr().out
    page = (tmp_path / "shapes.md").read_text()
    assert "| bias | none | random | qd |" in page

    # An uninterrupted fit, without shared parts, ends with the same classifier.
    monkeypatch.chdir(tmp_path)
    words = ["fit", f"--config={tmp_path / 'shapes_random.yaml'}", "--data.init_args.bias=0.9"]
    quiet = ["--trainer.logger=false", "--trainer.limit_val_batches=0"]
    cli = TrainerCLI([*words, *quiet, "--trainer.enable_checkpointing=false"])
    of_table = json.loads(results["random_b0.9_s0"].read_text())
    assert of_table["train_loss"] == float(cli.trainer.callback_metrics["train/loss"])
    (tested,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert {f"test/{name}": value for name, value in of_table["test"].items()} == tested

    # Started again, it does only what is missing, with the same outcome.
    before = json.loads(results["qd_b0.9_s0"].read_text())
    kept = [path for path in table.rglob("*s0.*") if path.parent.parent == table and path.is_file()]
    assert len(kept) >= 7  # a checkpoint, an archive, two sets of candidates, three results
    times = {path: path.stat().st_mtime_ns for path in kept if "logs" not in path.parts}
    results["qd_b0.9_s0"].unlink()
    _table(tmp_path)
    after = json.loads(results["qd_b0.9_s0"].read_text())
    assert after["test"] == before["test"]
    assert after["train_loss"] == before["train_loss"]
    changed = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {results["qd_b0.9_s0"]}

    # Another experiment does not mix with this one.
    with pytest.raises(SystemExit, match="other settings of the arm none"):
        _write_longer(tmp_path)


def _write_longer(folder: Path) -> None:
    """Make every arm longer, and start the table."""
    for path in folder.glob("shapes_*.yaml"):
        path.write_text(path.read_text().replace("max_epochs: 4", "max_epochs: 5"))
    _table(folder)


def test_arms_must_share_the_first_phase(tmp_path: Path) -> None:
    _write_config(tmp_path, "none")
    _write_config(tmp_path, "random")
    _write_config(tmp_path, "qd")
    path = tmp_path / "shapes_qd.yaml"
    path.write_text(path.read_text().replace("real_epochs: 1", "real_epochs: 2"))
    with pytest.raises(SystemExit, match="cannot share a first phase"):
        _table(tmp_path)


def test_archives_are_begun_first_and_nothing_is_done_twice(tmp_path: Path) -> None:
    arms: tuple[Arm, ...] = ("none", "random", "qd")
    for arm in arms:
        _write_config(tmp_path, arm)
    experiment = Experiment(configs=tmp_path, output=tmp_path / "table")
    runs = [
        Run(arm=arm, bias=bias, seed=seed)
        for bias in (0.9, 0.98)
        for arm in arms
        for seed in (0, 1)
    ]
    jobs = _missing(runs, experiment)
    kinds = [type(job) for job in jobs]
    assert kinds == [ArchiveOf] * 2 + [PhaseOne] * 4 + [Run] * 12
    assert len({job.file(experiment) for job in jobs}) == len(jobs)
    # What is there is left out, and so is what nobody waits for any more.
    for job in [jobs[0], *(job for job in runs if job.seed == 1)]:
        path = job.file(experiment)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    left = _missing(runs, experiment)
    assert [type(job) for job in left] == [PhaseOne] * 2 + [Run] * 6
    assert all(getattr(job, "seed", 0) == 0 for job in left)


def test_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"shapes_none\.yaml"):
        _table(tmp_path)


def _write_finished(folder: Path) -> None:
    """Write the results of the arm none for three seeds, whose accuracies are a point apart."""
    (folder / "results").mkdir(parents=True)
    for seed in range(3):
        test = {group.replace(" ", "_"): 0.5 for group in GROUPS}
        test |= {"balanced": 0.5 + seed / 100, "worst": 0.25, "gap": 0.1}
        result = {"arm": "none", "bias": 0.9, "seed": seed, "test": test}
        (folder / "results" / f"none_b0.9_s{seed}.json").write_text(json.dumps(result))


def test_what_is_named_twice_counts_once(tmp_path: Path) -> None:
    _write_config(tmp_path, "none")
    _write_finished(tmp_path / "table")
    _table(tmp_path, "--arms=[none,none]", "--biases=[0.9,0.9]", "--seeds=3")
    page = (tmp_path / "shapes.md").read_text()
    # The standard deviation of 0, 1, 2 points is 1, and t(0.975, 2) / sqrt(3) is 2.484.
    assert "| 0.90 | 51.0 ± 2.5 |\n" in page
    assert "\n3 runs, 3 seeds." in page


def test_a_page_lies_in_the_output_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _write_config(tmp_path, "none")
    _write_finished(tmp_path / "table")
    _table(tmp_path, "--arms=none", "--seeds=3", "--page=null")
    assert "| 0.90 | 51.0 ± 2.5 |\n" in (tmp_path / "table" / "page.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"shapes_none.yaml", "table"}


def test_runs_of_another_annotator_are_not_mixed_in(tmp_path: Path) -> None:
    _write_config(tmp_path, "none")
    _write_finished(tmp_path / "table")
    _table(tmp_path, "--arms=none", "--seeds=3")
    with pytest.raises(SystemExit, match="holds runs of another --annotator"):
        _table(tmp_path, "--arms=none", "--seeds=3", "--annotator=shapes_annotator")


@pytest.mark.parametrize("option", ["arms", "biases"])
def test_an_empty_list_is_refused(tmp_path: Path, option: str) -> None:
    _write_config(tmp_path, "none")
    with pytest.raises(SystemExit, match=f"--{option} is empty"):
        _table(tmp_path, f"--{option}=[]")


def _report_and_wait(path: Path) -> None:
    """Say which process this is, and wait for longer than any test lasts."""
    path.write_text(str(os.getpid()))
    time.sleep(600)


def _start_worker(path: Path) -> None:
    """Do what the command does with its workers, and wait for one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
        pool.submit(_report_and_wait, path).result()


@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    command = multiprocessing.get_context("spawn").Process(
        target=_start_worker, args=(tmp_path / "pid",)
    )
    command.start()
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        time.sleep(0.1)
        assert command.is_alive()
    worker = Path("/proc") / (tmp_path / "pid").read_text()
    assert _is_running(worker)
    command.kill()
    command.join()
    deadline = time.monotonic() + 60
    while _is_running(worker):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _is_running(process: Path) -> bool:
    """Whether a folder of /proc is that of a process that has not ended."""
    try:
        return "Z" not in (process / "stat").read_text().split()[2]
    except OSError:  # gone, perhaps between two looks
        return False
