"""A recogniser from image files to a report, by the commands that a user types."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from qdgs_lightning.cli.main import main
from tests.faces import jpegs, portraits

CONFIG = """
seed_everything: 0
model:
  class_path: FaceRecognizer
  init_args:
    backbone:
      class_path: IResNet
      init_args: {layers: [1, 1, 1, 1], width: 12, embedding_dim: 64, image_size: 32}
    head: {class_path: CosFace, init_args: {margin: 0.2, scale: 16}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1, momentum: 0.9}}
    scheduler:
      class_path: torch.optim.lr_scheduler.MultiStepLR
      init_args: {milestones: [6, 8]}
    warmup: 1
data:
  class_path: FaceDataModule
  init_args:
    train: packed
    benchmarks: benchmarks
    validate_on: [lfw]
    test_on: [lfw, rfw_asian, rfw_indian]
    predict: benchmarks/lfw.bin
    augmentation: {crop: 0.1, low_resolution: 0.1, photometric: 0.2}
    batch_size: 50
    num_workers: 0
    image_size: 32
trainer:
  accelerator: cpu
  max_epochs: 9
  enable_progress_bar: false
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: ., name: run}}
  callbacks:
    - {class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {save_last: true}}
    - {class_path: EmbeddingWriter}
"""


def write_folders(root: Path, identities: range, each: int) -> None:
    for identity in identities:
        folder = root / f"{identity:04d}"
        folder.mkdir(parents=True)
        for index, image in enumerate(jpegs(portraits(identity, each, side=32))):
            (folder / f"{index:03d}.jpg").write_bytes(image)


@pytest.mark.slow
def test_from_folders_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folders(Path("photos"), range(120), 10)
    main(["data", "pack", "--source", "photos", "--output", "packed"])
    assert (Path("packed") / "property").read_text() == "120,32,32\n"
    # Identities that the training set lacks.
    for name, begin in (("lfw", 1000), ("rfw_asian", 2000), ("rfw_indian", 3000)):
        write_folders(Path(f"{name}_photos"), range(begin, begin + 40), 6)
        words = ["--source", f"{name}_photos", "--output", f"benchmarks/{name}.bin"]
        main(["data", "pack", *words, "--pairs", "400"])
    Path("faces.yaml").write_text(CONFIG)

    main(["fit", "--config", "faces.yaml"])
    checkpoint = "run/version_0/checkpoints/last.ckpt"
    with Path("run/version_0/metrics.csv").open() as file:
        validation = [float(row["val/lfw"]) for row in csv.DictReader(file) if row["val/lfw"]]
    assert validation[-1] > 0.9

    capsys.readouterr()
    main(["test", "--config", "faces.yaml", "--ckpt_path", checkpoint])
    report = json.loads(Path("run/version_0/test/verification.json").read_text())
    accuracies = {name: found["accuracy"] for name, found in report["benchmarks"].items()}
    assert accuracies["lfw"] == pytest.approx(validation[-1])
    assert min(accuracies.values()) > 0.9
    shown = capsys.readouterr().out
    assert f"{100 * accuracies['lfw']:.2f}" in shown
    assert "asian" in shown
    own = report["groups"]["rfw"]["own"]["disparate_impact"]
    assert own["low"] <= own["value"] <= own["high"]

    main(["predict", "--config", "faces.yaml", "--ckpt_path", checkpoint])
    rows = torch.from_numpy(np.load("run/version_0/predict/embeddings.npy"))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
