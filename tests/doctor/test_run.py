"""``qdgs doctor``: the right line for whatever is wrong with a run on drawn images."""

import json
import math
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from qdgs_lightning.cli.main import main
from qdgs_lightning.doctor.context import Plan, leaving_no_trace, make_plan
from qdgs_lightning.doctor.files import (
    check_archive_file,
    check_generator,
    check_guidance,
)
from qdgs_lightning.doctor.findings import Finding, guarded, warning
from qdgs_lightning.doctor.match import check_batch
from qdgs_lightning.doctor.run import Check, doctor, examine
from qdgs_lightning.doctor.throughput import (
    DIFFERENTIATED,
    DRAWN,
    EVALUATED,
    TRAINED,
    _extrapolated,
)
from qdgs_lightning.errors import ConfigError
from qdgs_lightning.generators.stylegan2 import read_checkpoint, save_stylegan2
from qdgs_lightning.parsing.rooms import import_rooms
from qdgs_lightning.search import QDSearch, SearchConfig
from tests.faces import write_benchmark
from tests.generators.stylegan2.official_files import official_file
from tests.generators.stylegan2.parity import Parity
from tests.toys import ToyGenerator, ToyGuidance

Config = dict[str, Any]

FIT = """
seed_everything: 5
model:
  class_path: FaceRecognizer
  init_args:
    backbone:
      class_path: IResNet
      init_args: {layers: [1, 1, 1, 1], width: 2, embedding_dim: 8, image_size: 32}
    head: {class_path: ArcFace}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.002}}
data:
  class_path: SyntheticFaceDataModule
  init_args:
    generator: {class_path: StyleGAN2Generator, init_args: {checkpoint: net.safetensors}}
    guidance: {class_path: PromptGuidance}
    sampler:
      class_path: ArchiveSampler
      init_args: {bins: [{measure: 0, intervals: [[-.inf, 0.0], [0.0, .inf]]}]}
    identities: 16
    edits: {class_path: PrincipalEdits, init_args: {number: 2}}
    slots: 24
    align: none
    image_size: 32
    batch_size: 4
    num_workers: 0
trainer:
  accelerator: cpu
  max_epochs: 9
  reload_dataloaders_every_n_epochs: 1
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: runs}}
  callbacks:
  - class_path: QDRefresh
    init_args:
      search: {grid: [50, 40], ranges: [[-1, 1], [-1, 1]], algorithm: targeted}
      evaluations: 1000
      every_n_epochs: 4
      refresh_evaluations: 180
"""
SEARCH = """
generator: {class_path: tests.toys.ToyGenerator}
guidance: {class_path: tests.toys.ToyGuidance}
search: {grid: [6, 6], algorithm: map_elites, calibration: 32, emitters: 1, batch_size: 8}
output: archive.safetensors
evaluations: 64
accelerator: cpu
"""


class SickGenerator(ToyGenerator):
    """A generator whose weights end in a mistake of its author's."""

    def prepare(self) -> None:
        """Fail."""
        raise ZeroDivisionError("sick")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_rooms()
    monkeypatch.chdir(tmp_path)
    write_network(Path("net.safetensors"))


@pytest.fixture
def fit() -> Config:
    return fit_config()


@pytest.fixture
def search() -> Config:
    return search_config()


def write_network(path: Path) -> None:
    """Write a StyleGAN2 of 32 pixels with random weights, made once."""
    if not _network:
        pickled = path.with_suffix(".pkl")
        pickled.write_bytes(official_file(Parity("sg2_res32_orig")))
        save_stylegan2(read_checkpoint(pickled), path)
        pickled.unlink()
        _network.append(path.read_bytes())
    path.write_bytes(_network[0])


_network: list[bytes] = []


def fit_config() -> Config:
    """A fit on drawn faces, in which nothing is wrong."""
    config: Config = yaml.safe_load(FIT)
    return config


def search_config() -> Config:
    """A search, in which nothing is wrong."""
    config: Config = yaml.safe_load(SEARCH)
    return config


def given(config: Config, name: str = "config.yaml") -> list[str]:
    Path(name).write_text(yaml.safe_dump(config))
    return ["--config", name]


def findings(config: Config, *words: str) -> list[Finding]:
    return list(examine([*given(config), *words], probe_seconds=0))


def about(found: list[Finding], subject: str, state: str, pattern: str = "") -> Finding:
    """The one finding about a subject that is of a state and says something."""
    fitting = [
        f
        for f in found
        if (f.subject, f.state) == (subject, state)
        and re.search(pattern, f"{f.found} -> {f.advice}")
    ]
    assert len(fitting) == 1, [str(f.to_text()) for f in found]
    return fitting[0]


def loaded(config: Config) -> Plan:
    """A plan whose generator and guidance are ready for further checks."""
    with leaving_no_trace():
        plan = make_plan(given(config))
        list(check_generator(plan))
        list(check_guidance(plan))
    assert plan.can_draw
    assert plan.can_judge
    return plan


def checked(check: Check, plan: Plan) -> list[Finding]:
    return list(guarded(lambda: check(plan), "this"))


def in_the_way(found: list[Finding]) -> set[str]:
    return {f.subject for f in found if f.state in ("missing", "wrong")}


def files() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(Path().rglob("*")) if p.is_file()}


def part(config: Config, *keys: str | int) -> Any:  # noqa: ANN401 (any YAML)
    for key in keys:
        config = config[key]  # type: ignore[index]
    return config


def test_a_good_fit_is_let_through_and_nothing_is_left_behind(
    fit: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    words, before = given(fit), files()
    environment = dict(os.environ)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    doctor([*words, "--probe_seconds", "0.2", "--json", "out/report.json"])
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "Nothing stands in the way."
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index]
    assert random.getstate() == states[2]
    assert dict(os.environ) == environment
    after = files()
    report = json.loads(after.pop("out/report.json"))
    assert after == before
    assert report["ready"] is True
    assert len(report["findings"]) == len(told) - 1
    by_subject = {finding["subject"]: finding for finding in report["findings"]}
    assert {finding["state"] for finding in report["findings"]} == {"ok", "warning"}
    assert by_subject["grid"]["numbers"] == {"cells": 2000}
    assert by_subject["head"]["numbers"] == {"classes": 24}
    assert re.search(
        r"net\.safetensors, safetensors, .*32 x 32.*of 32$", by_subject["generator"]["found"]
    )
    # 1000 + 2 x 180 elites at most, of 32 coordinates, two measures, an objective and a cell.
    assert by_subject["memory"]["numbers"]["archive"] == 1360 * 36 * 4 + 2**25
    rates = {k for f in report["findings"] if f["subject"] == "speed" for k in f["numbers"]}
    assert len(rates) == 4
    assert "all_seconds" in by_subject["time (an estimate)"]["numbers"]


def test_hours_follow_from_rates(fit: Config) -> None:
    fit["trainer"].update(devices=2, strategy="ddp")
    part(fit, "data", "init_args", "sampler", "init_args")["quality"] = {
        "agreement": ["flip_horizontal"]
    }
    with leaving_no_trace():
        plan = make_plan(given(fit))
    assert (plan.processes, plan.refreshes, plan.max_epochs) == (2, 2, 9)
    plan.num_edits = 2
    rates = {EVALUATED: 100.0, DIFFERENTIATED: 10.0, DRAWN: 40.0, TRAINED: 80.0}
    times = _extrapolated(plan, rates)
    # Of 180 evaluations in an iteration ten have gradients; the first 512 have none.
    each = (10 / 10 + 170 / 100) / 180
    fill = (512 / 100 + 488 * each) / 2
    renewal = 180 * each / 2
    labels = [rows * 2 / 100 / 2 for rows in (1000, 1180, 1360)]
    epoch = 64 / 2 * (1 / 80 + 1 / 40)
    assert times == pytest.approx(
        {
            "first fill": fill,
            "each refresh": renewal,
            "labels of the last pool at most": labels[-1],
            "an epoch": epoch,
            "all": fill + 2 * renewal + sum(labels) + 9 * epoch,
        }
    )


def test_everything_that_does_not_fit_is_named_at_once(fit: Config) -> None:
    data, trainer = fit["data"]["init_args"], fit["trainer"]
    fit["model"]["init_args"]["num_classes"] = 20
    fit["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.1
    fit["model"]["init_args"]["backbone"]["init_args"]["image_size"] = 48
    data["sampler"]["init_args"]["bins"] = [
        {"measure": 0, "intervals": [[-math.inf, 1.5], [1.5, math.inf]]},
        {"measure": 7, "intervals": [[0.0, 1.0]]},
    ]
    data["num_workers"] = 4096
    trainer["reload_dataloaders_every_n_epochs"] = 0
    trainer["precision"] = "16-mixed"
    part(trainer, "callbacks", 0, "init_args", "search").update(grid=[5], ranges=[[-1, 1]])
    trainer["logger"] = [
        trainer["logger"],
        {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"save_dir": "runs"}},
    ]
    found = findings(fit)
    assert in_the_way(found) == {"head", "image_size", "bins", "grid", "trainer"}
    about(found, "head", "wrong", r"num_classes is 20, but the data have 24 slots -> raise")
    about(found, "image_size", "wrong", r"brought to 32 pixels and the backbone takes 48")
    about(found, "grid", "wrong", r"for 1 measures, but the guidance measures 2")
    about(found, "bins", "wrong", r"measure 7, but the guidance has 2 \(red to blue, triangle")
    about(found, "bins", "warning", r"cut\(s\) 1\.5 of 'red to blue' lie outside.*-1 to 1")
    about(found, "trainer", "wrong", r"reload_dataloaders_every_n_epochs: 1")
    about(found, "batch", "warning", r"4 images a step, learning rate 0\.1; .*0\.00063 here")
    about(found, "images to judge", "warning", r"gives 32 pixels a side and CLIP wants 128")
    about(found, "processors", "warning", r"for 4096 processes")
    about(found, "precision", "warning", r"16-mixed.* on cpu asks for float16")
    about(found, "W&B", "warning", r"no key.*WANDB_API_KEY")
    about(found, "images to learn from", "ok", "32 pixels a side, for the recogniser")


def test_a_schedule_that_is_shorter_than_the_fit(fit: Config) -> None:
    length = {"max_lr": 0.1, "total_steps": 72}  # nine epochs of eight batches
    scheduler = {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": length}
    fit["model"]["init_args"].update(scheduler=scheduler, interval="step")
    with leaving_no_trace():
        plan = make_plan(given(fit))
    about(checked(check_batch, plan), "scheduler", "ok", "is 72, and the fit takes 72 steps")
    shorter = {"accumulate_grad_batches": 3, "limit_train_batches": 5}, {"max_steps": 4}
    for setting, steps in zip(shorter, (18, 4), strict=True):
        plan.settings.update(setting)
        about(checked(check_batch, plan), "scheduler", "ok", rf"takes {steps} steps")
    plan.settings.update(
        limit_train_batches=None, accumulate_grad_batches=1, max_steps=73, max_epochs=10
    )
    told = r"is 72, and the fit takes 73 steps -> set `model\..*total_steps` to 73,"
    about(checked(check_batch, plan), "scheduler", "wrong", told)


def test_the_exit_status_and_the_last_line_say_that_something_is_in_the_way(
    fit: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.safetensors").unlink()
    fit["trainer"].update(reload_dataloaders_every_n_epochs=0, callbacks=[])
    with pytest.raises(SystemExit) as ended:
        doctor([*given(fit), "--probe_seconds", "0", "--json", "report.json"])
    assert ended.value.code == 1
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "Not ready: 1 missing and 2 wrong."
    place = Path("net.safetensors").absolute()
    line = f"missing generator              there is no checkpoint {place} -> bring it"
    assert any(one.startswith(line) for one in told)
    assert any("there is none -> add the QDRefresh callback" in one for one in told)
    assert json.loads(Path("report.json").read_text())["ready"] is False


def test_a_cache_on_three_processes(fit: Config) -> None:
    fit["data"]["init_args"]["cache"] = "host"
    fit["trainer"].update(devices=3, strategy="ddp")
    found = findings(fit)
    assert in_the_way(found) == {"training images"}
    about(found, "training images", "wrong", "needs a number of processes that divides 64, not 3")
    assert about(found, "memory", "ok").numbers["cache"] == 64 * 3 * 32 * 32 // 3


@pytest.mark.parametrize(
    ("mistakes", "told"),
    [
        ({"IResNet": "IResNt"}, {"configuration": r"did you mean '\S*IResNet'"}),
        (
            {"measure: 0": "measure: -1", "evaluations: 1000": "evaluations: 0"},
            {"data": "bins of measure -1", "trainer": "positive `evaluations`"},
        ),
    ],
)
def test_what_cannot_be_built_is_told_and_the_rest_is_looked_at(
    mistakes: dict[str, str], told: dict[str, str]
) -> None:
    text = FIT
    for right, wrong in mistakes.items():
        text = text.replace(right, wrong, 1)
    Path("config.yaml").write_text(text)
    found = list(examine(["--config", "config.yaml"], probe_seconds=0))
    for subject, pattern in told.items():
        about(found, subject, "wrong", pattern)
    assert in_the_way(found) == set(told)
    about(found, "versions", "ok", "torch")


def test_options_of_its_own(fit: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"probe_seconds.*invalid float.*--help"):
        doctor(["--probe_seconds", "long"])
    for words, told in (
        ([], "name a YAML file"),
        (["--config", "no.yaml"], "/no.yaml is not there"),
    ):
        with pytest.raises(SystemExit, match="1"):
            doctor([*words, "--probe_seconds", "0"])
        assert re.search(rf"(wrong|missing) +configuration .*{told}", capsys.readouterr().out)


def test_a_report_without_a_place_costs_no_findings(
    search: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*given(search), "--probe_seconds", "0"]
    with pytest.raises(SystemExit, match=r"^qdgs: Is a directory '/.*': choose a place"):
        main(["doctor", *words, "--json", "."])
    assert "a search of ToyGenerator" in capsys.readouterr().out


def test_a_search_and_the_archive_that_it_continues(search: Config) -> None:
    found = findings(search)
    assert not in_the_way(found)
    about(found, "configuration", "ok", "a search of ToyGenerator under ToyGuidance")
    options = search["search"] | {"grid": (6, 6)}
    quest = QDSearch(ToyGenerator(), ToyGuidance(), SearchConfig(**options))
    quest.run(48)
    quest.save("archive.safetensors")
    plan = loaded(search)
    about(checked(check_archive_file, plan), "archive file", "ok", "of 48 evaluations")
    # 16 are left of 64, and no sample of the prior is needed any more.
    assert _extrapolated(plan, {EVALUATED: 4.0}) == {"search": pytest.approx(4)}
    about(findings(search, "--evaluations=48"), "archive file", "warning", "is finished")
    search["guidance"]["init_args"] = {"prompt": "another"}
    about(findings(search), "archive file", "wrong", "toy was a toy and is another")
    search["guidance"]["init_args"] = {"measures": 3}
    about(findings(search), "grid", "wrong", "guidance measures 3 ")
    search["generator"]["class_path"] = "tests.toys.ToyGeneratr"
    about(findings(search), "configuration", "wrong", "did you mean 'tests.toys.ToyGenerator'")


def test_ranges_that_no_sample_falls_into(search: Config) -> None:
    part(search, "search")["ranges"] = [[0.0, 1.0], [2.0, 3.0]]
    told = "None of 64 prior samples .* 'green', 2 to 3: they span 0"
    about(findings(search), "ranges", "warning", told)
    part(search, "search")["ranges"] = [[0.0, 1.0], [0.0, 1.0]]
    about(findings(search), "ranges", "ok")


TEST = """
model:
  class_path: FaceRecognizer
  init_args: {backbone: {class_path: MobileFaceNet, init_args: {embedding_dim: 8}}}
data:
  class_path: FaceDataModule
  init_args: {benchmarks: benchmarks, test_on: [lfw], num_workers: 0}
trainer: {accelerator: cpu, logger: false}
"""


def test_a_test_is_not_judged_as_a_fit() -> None:
    config: Config = yaml.safe_load(TEST)
    Path("benchmarks").mkdir()
    write_benchmark(Path("benchmarks/lfw.bin"), range(3), n=40, side=112)
    found = findings(config)
    assert in_the_way(found) == set()
    about(found, "configuration", "ok", "a test of FaceRecognizer on FaceDataModule, since there")
    about(found, "benchmarks", "ok", r"there is lfw \(40 pairs\)")
    about(found, "weights", "warning", "no checkpoint is named")
    words = given(config)
    assert {"training images", "head"} <= in_the_way(
        list(examine(["fit", *words], probe_seconds=0))
    )
    Path("benchmarks/lfw.bin").unlink()
    about(findings(config), "benchmarks", "missing", "a test needs one -> bring lfw")


def test_a_fit_can_be_looked_at_as_a_test(fit: Config) -> None:
    found = list(examine(["test", *given(fit)], probe_seconds=0.1))
    about(
        found, "configuration", "ok", "a test of FaceRecognizer on SyntheticFaceDataModule$| -> $"
    )
    subjects = {f.subject for f in found}
    assert not subjects & {"generator", "grid", "training images", "head", "batch", "trainer"}


def test_a_command_that_cannot_be_looked_at_is_named(fit: Config) -> None:
    found = list(examine(["tset", *given(fit)], probe_seconds=0))
    about(
        found, "configuration", "wrong", "'tset' is none of fit, test, search.*did you mean 'test'"
    )


def test_null_for_a_number_is_in_the_way(fit: Config) -> None:
    part(fit, "trainer", "callbacks", 0, "init_args")["refresh_evaluations"] = None
    about(findings(fit), "configuration", "wrong", "refresh_evaluations: null is no int")


def test_a_check_that_fails_is_one_line(search: Config) -> None:
    words = given(search | {"generator": {"class_path": "tests.toys.BrokenGenerator"}})
    found = list(examine(words, probe_seconds=0.1))
    about(found, "speed", "wrong", "BrokenGenerator returned an image that is NaN")
    search["generator"] = {"class_path": "tests.doctor.test_run.SickGenerator"}
    found = findings(search)
    assert in_the_way(found) == {"generator"}
    about(found, "generator", "wrong", "ZeroDivisionError: sick")
    about(found, "guidance", "ok", "ToyGuidance measures red, green")
    about(found, "disk", "ok")
    broken: list[Finding] = []
    found = list(guarded(lambda: [broken[1]], "some check"))
    about(found, "some check", "wrong", r"could not be looked at \(IndexError: list index")
    found = list(guarded(lambda: [warning("this", Path("absent").read_text(), "")], "some check"))
    about(found, "some check", "warning", r"could not be looked at \(FileNotFoundError: .*absent")
