"""The demo runs real configurations, and its table says what the runs' logs say."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from qdgs_lightning.cli.main import main

CONFIG = """
model:
  class_path: tests.boring.BoringTask
  init_args: {lr: LEARNING_RATE}
data: tests.boring.BoringData
trainer:
  max_epochs: 2
  accelerator: cpu
  enable_progress_bar: false
  logger:
  - class_path: CSVLogger
    init_args: {save_dir: runs, name: shapes_ARM}
"""
LEARNING_RATES = {"none": "0.25", "qd": "0.5"}


@pytest.fixture(autouse=True)
def _two_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    for arm, rate in LEARNING_RATES.items():
        text = CONFIG.replace("LEARNING_RATE", rate).replace("ARM", arm)
        Path(f"configs/shapes_{arm}.yaml").write_text(text)


def test_arms_are_compared_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").mkdir()
    Path("runs/shapes_demo.png").write_text("older")
    Path("kept").hardlink_to("runs/shapes_demo.png")
    main(["shapes-demo", "--configs", "configs", "--arms", "[none,qd,none]"])
    printed = capsys.readouterr()
    told, log = printed.out, Path("runs/shapes_demo.log").read_text()
    assert not printed.err
    assert len(told.splitlines()) <= 30  # our own: two commands, two lines of epochs each, a table
    assert "Training qd: done, 2 of 2 in" in told
    assert "all that the runs printed: runs/shapes_demo.log\n" in told
    for theirs in ("Seed set to 0", "`Trainer.fit` stopped", "Test metric"):
        assert theirs in log
        assert theirs not in told
    rows = {}
    for arm in LEARNING_RATES:
        with Path(f"runs/shapes_{arm}/version_0/test/metrics.csv").open() as file:
            (rows[arm],) = csv.DictReader(file)
        assert f"$ qdgs fit --config configs/shapes_{arm}.yaml\n" in told
        assert f"lie in runs/shapes_{arm}/version_0\n" in told
    (loss,) = (line for line in told.splitlines() if line.split()[1:2] == ["loss"])
    shown = [float(cell) for cell in loss.replace("│", " ").split()[1:]]
    expected = [100 * float(row["test/loss"]) for row in rows.values()]
    assert shown == pytest.approx(expected, abs=0.05)
    assert shown[0] != shown[1]
    assert not Path("runs/shapes_none/version_1").exists()  # named twice, trained once
    assert Image.open("runs/shapes_demo.png").width >= 640
    assert Path("kept").read_text() == "older"  # replaced, not written over


def test_a_missing_config_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"shapes_random\.yaml"):
        main(["shapes-demo", "--configs=configs", "--arms", "[random]"])
    assert "What was printed until then: runs/shapes_demo.log\n" in capsys.readouterr().out


def test_everything_is_printed_for_those_who_look_for_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QDGS_DEBUG", "1")
    main(["shapes-demo", "--configs=configs", "--arms", "[none]"])
    assert "Test metric" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output=bars.bmp"], r"output is bars\.bmp; .* ends in \.png"),
        (["--output=bars"], r"ends in \.png"),
        (["--arms=[]"], "--arms is empty"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_anything_is_trained(
    words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["shapes-demo", "--arms=[none]", *words])
    assert not Path("runs").exists()


def test_an_overlay_lies_over_every_arm(capsys: pytest.CaptureFixture[str]) -> None:
    Path("overlay.yaml").write_text("trainer: {max_epochs: 1}\n")
    main(["shapes-demo", "--configs=configs", "--arms=[none,qd]", "--overlay=overlay.yaml"])
    told = capsys.readouterr().out
    for arm in LEARNING_RATES:
        layers = f"--config configs/shapes_{arm}.yaml --config overlay.yaml"
        assert f"$ qdgs fit {layers}\n" in told
        assert f"$ qdgs test {layers} --ckpt_path" in told
        saved = Path(f"runs/shapes_{arm}/version_0/config.yaml").read_text()
        assert "max_epochs: 1\n" in saved
