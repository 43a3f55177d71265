"""The avatars experiment in small: stages in order, resumption, and the same numbers as by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from qdgs_lightning.cli.main import main
from qdgs_lightning.domains.avatars.dataset import ATTRIBUTES
from qdgs_lightning.domains.avatars.make_dataset import avatars_data
from qdgs_lightning.domains.avatars.study_report import accuracies, markdown
from qdgs_lightning.studies.aggregate import differences, rows_of
from qdgs_lightning.trainer.trainer_cli import TrainerCLI

CONFIGS = Path(__file__).parents[3] / "configs"
SYNTHETIC = {"identities": 6, "slots": 6, "batch_size": 16}
SEARCH = {"calibration": 200, "emitters": 1, "batch_size": 8}


def _write_small(folder: Path, arm: str) -> None:
    """Write an arm's configuration as it is, but for sizes."""
    config = yaml.safe_load((CONFIGS / f"avatars_{arm}.yaml").read_text())
    config["model"]["init_args"]["backbone"]["init_args"]["width"] = 2
    config["trainer"] |= {"max_epochs": 1, "accelerator": "cpu"}
    data = config["data"]["init_args"]
    if arm == "none":
        data["batch_size"] = 4
    else:
        data |= SYNTHETIC
    if arm == "rand":
        data["sampler"]["init_args"]["evaluations"] = 200
    if arm == "qd":
        refresh = config["trainer"]["callbacks"][-1]["init_args"]
        refresh["search"] |= SEARCH
        refresh["evaluations"] = 216
    (folder / f"avatars_{arm}.yaml").write_text(yaml.safe_dump(config))


def _table(folder: Path, *words: str) -> None:
    main(
        [
            "avatars-table",
            f"--configs={folder}",
            f"--output={folder / 'table'}",
            "--seeds=1",
            "--jobs=1",
            *words,
        ]
    )


def _contents(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}


@pytest.mark.usefixtures("one_thread")
def test_stages_in_order_resumed_and_equal_to_runs_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for arm in ("none", "rand", "qd"):
        _write_small(tmp_path, arm)
    data = tmp_path / "table" / "data" / "s0"
    size = yaml.safe_load((tmp_path / "avatars_none.yaml").read_text())
    avatars_data(
        output=data,
        identities=4,
        images_per_identity=4,
        pairs=40,
        benchmark_identities=40,
        image_size=size["data"]["init_args"]["image_size"],
    )
    _table(tmp_path)
    table = tmp_path / "table"
    results = _contents(table / "results")
    assert results.keys() == {"none_s0", "rand_s0", "qd_s0"}
    assert (table / "page.md").read_text().startswith("# Avatars\n")
    told = capfd.readouterr()
    assert "DI of dark and light" in told.out
    assert "Seed set" not in told.out + told.err  # of the jobs, whose processes keep it in a file
    assert "Seed set to 0" in (table / "logs" / "qd_s0_FirstStage.txt").read_text()
    assert "| % | none | rand | qd |" in (tmp_path / "table" / "page.md").read_text()

    # Pools are read at their full size, and archives are described.
    assert results["none_s0"]["first_stage"] is None
    for arm in ("rand", "qd"):
        first = results[f"{arm}_s0"]["first_stage"]
        assert first["pool"]["images"] == 6 * 9
        for name, classes in ATTRIBUTES.items():
            shares = first["pool"]["shares"][name]
            assert tuple(shares) == classes
            assert sum(shares.values()) == pytest.approx(1)
        assert first["pool"]["agreement"].keys() == {"skin", "gender", "age"}
        assert min(first["pool"]["agreement"].values()) > 0.8
        assert first["pool"]["junk_said"] < 0.05
    assert results["rand_s0"]["first_stage"]["archive"] is None
    assert results["qd_s0"]["first_stage"]["archive"]["num_elites"] > 50

    # The second stage is what `qdgs fit` and `qdgs test` do with the checkpoint of the first.
    monkeypatch.chdir(tmp_path)
    words = ["fit", f"--config={tmp_path / 'avatars_none.yaml'}"]
    words += [f"--data.init_args.train={data}", f"--data.init_args.benchmarks={data}"]
    words += ["--trainer.logger=false", "--trainer.enable_checkpointing=false"]
    words += ["--trainer.callbacks=[]"]
    for arm, first in (("none", None), ("qd", table / "first_stage" / "qd_s0.ckpt")):
        cli = TrainerCLI([*words, f"--model.init_args.init_from={first}"] if first else words)
        loss = float(cli.trainer.callback_metrics["train/loss"])
        assert results[f"{arm}_s0"]["train_loss"] == loss
        tested: dict[str, float] = {}
        for part in cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False):
            tested |= part
        assert {f"test/{k}": v for k, v in results[f"{arm}_s0"]["test"].items()} == tested

    # Started again, it does only what is missing, with the same outcome.
    kept = [path for path in table.rglob("*s0.*") if "logs" not in path.parts and path.is_file()]
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert len(times) == 7  # two first stages, what their pools hold, three results
    lost = table / "results" / "qd_s0.json"
    lost.unlink()
    _table(tmp_path)
    again = _contents(table / "results")["qd_s0"]
    assert again["test"] == results["qd_s0"]["test"]
    assert {path for path, time in times.items() if path.stat().st_mtime_ns != time} == {lost}

    with pytest.raises(SystemExit, match="other settings of the arm none"):
        _with_more_epochs(tmp_path)


def _with_more_epochs(folder: Path) -> None:
    path = folder / "avatars_none.yaml"
    path.write_text(path.read_text().replace("max_epochs: 1", "max_epochs: 2"))
    _table(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds=0"], "at least 1"),
        (["--arms=[]"], "--arms is empty"),
        (["--arms=[none]", "--reader=nobody"], "no weights .*/nobody: "),
        (["--overlay=nothing.yaml"], "/nothing.yaml is not there"),
        (["--arms=[none,nobody]"], "avatars_nobody.yaml"),
        (["--arms=[qd+nothing]"], "avatars_qd_nothing.yaml"),
    ],
)
def test_what_cannot_be_run_is_named(tmp_path: Path, words: list[str], message: str) -> None:
    for arm in ("none", "qd"):
        _write_small(tmp_path, arm)
    with pytest.raises(SystemExit, match=message):
        _table(tmp_path, *words)


def test_a_job_that_fails_says_why_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in ("none", "qd"):
        _write_small(tmp_path, arm)
    path = tmp_path / "avatars_qd.yaml"
    path.write_text(path.read_text().replace("objective_min: 112", "objective_min: 1000"))
    with pytest.raises(SystemExit, match=r"seed 0 failed \(None of 200 prior .*FirstStage\.txt"):
        _table(tmp_path, "--arms=[qd]")
    assert "A job has failed" in capsys.readouterr().out
    assert not list((tmp_path / "table").rglob("*.ckpt"))


def test_an_arm_named_twice_counts_once_and_another_reader_is_refused(tmp_path: Path) -> None:
    _write_small(tmp_path, "none")
    (tmp_path / "table" / "results").mkdir(parents=True)
    for result in _results():
        path = tmp_path / "table" / "results" / f"{result['arm']}_s{result['seed']}.json"
        path.write_text(json.dumps(result))
    _table(tmp_path, "--arms=[none,none]", "--seeds=4")
    assert "\n4 runs, seeds 0 to 3." in (tmp_path / "table" / "page.md").read_text()
    with pytest.raises(SystemExit, match="holds runs of another --reader"):
        _table(tmp_path, "--arms=none", "--seeds=4", "--reader=shapes_annotator")


def _results() -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [
        {
            "arm": arm,
            "seed": seed,
            "test": {
                **{f"avatars_{group}": random.random() for group in ("dark", "light")},
                **{f"avatars_{group}": random.random() for group in ("young", "old")},
                "skin/own/disparate_impact": random.random(),
                "age/own/disparate_impact": random.random(),
            },
            "first_stage": None,
            "cpu_seconds": 1.0,
        }
        for arm in ("none", "rand", "qd", "qd+cells")
        for seed in range(4)
    ]


def test_numbers_are_means_over_seeds_with_t_intervals() -> None:
    results = _results()
    head, *rows = rows_of(results, accuracies, corner="%")
    assert head == ["%", "none", "rand", "qd", "qd+cells"]
    of_dark = [r["test"]["avatars_dark"] for r in results if r["arm"] == "qd"]
    low, _ = stats.t.interval(0.95, 3, np.mean(of_dark), stats.sem(of_dark))
    expected = f"{100 * np.mean(of_dark):.1f} ± {100 * (np.mean(of_dark) - low):.1f}"
    assert rows[0][:1] + rows[0][3:4] == ["dark", expected]
    average = np.mean([[r["test"][f"avatars_{g}"] for g in ("dark", "light", "young", "old")]
                       for r in results if r["arm"] == "rand"])  # fmt: skip
    (row,) = (row for row in rows if row[0] == "average")
    assert row[2].startswith(f"{100 * average:.1f} ±")


def test_gains_are_paired_by_seed() -> None:
    results = _results()
    others = ["none", "rand"]
    rows = differences(results, accuracies, corner="points", arm="qd", others=others)
    gains = [
        100 * (qd["test"]["avatars_old"] - rand["test"]["avatars_old"])
        for qd, rand in zip(results[8:12], results[4:8], strict=True)
    ]
    half = stats.sem(gains) * stats.t.ppf(0.975, 3)
    (row,) = (row for row in rows if row[0] == "old")
    assert row[2] == f"{np.mean(gains):.1f} ± {half:.1f}"
    page = markdown(results)
    assert "### Gains of qd, paired by seed" in page
    assert "| points | qd+cells - qd |" in page
