"""Two processes train and measure what one does, and either goes on from the other's checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from qdgs_lightning.cli.main import main
from tests.faces import write_benchmark, write_training_set

CONFIG = """
seed_everything: 0
model:
  class_path: FaceRecognizer
  init_args:
    backbone: {class_path: tests.tasks.test_face_recognition_ddp.Flat}
    head:
      class_path: SampledHead
      init_args: {head: {class_path: CosFace, init_args: {scale: 8}}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, momentum: 0.9}}
    num_bootstrap: 0
data:
  class_path: FaceDataModule
  init_args:
    train: set
    benchmarks: .
    validate_on: [lfw]
    test_on: [lfw]
    augmentation: {flip: 0, crop: 0, low_resolution: 0, photometric: 0}
    num_workers: 0
    eval_batch_size: 7
    image_size: 32
trainer:
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  gradient_clip_val: 1.0
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: ., name: run}}
  callbacks:
    - {class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {save_last: true}}
"""
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


class Flat(nn.Module):
    """One layer, and no batch normalisation, whose statistics are each process's own."""

    embedding_dim = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, self.embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        embeddings: Tensor = self.layer(nn.functional.avg_pool2d(images, 4).flatten(1))
        return embeddings


def command(*words: str, processes: int) -> None:
    """Run qdgs; the same images make a step, however many processes share them."""
    batch = ["--data.init_args.batch_size", str(8 // processes)] if words[0] == "fit" else []
    words = (*words, "--config", "faces.yaml", *batch)
    if processes == 1:
        main(words)
        return
    # YAML names a class of the tests.
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", "qdgs_lightning", *words, *TWO],
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def weights(version: int) -> dict[str, Tensor]:
    path = f"run/version_{version}/checkpoints/last.ckpt"
    found: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return found


@pytest.mark.slow
def test_one_and_two_processes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_training_set(Path("set"), n=5)
    write_benchmark(Path("lfw.bin"), range(10, 16), n=21)  # an odd number of batches and pairs
    Path("faces.yaml").write_text(CONFIG)
    command("fit", "--trainer.max_epochs", "2", processes=1)  # version 0
    command("fit", "--trainer.max_epochs", "1", processes=2)  # version 1
    last = "run/version_1/checkpoints/last.ckpt"
    command("fit", "--trainer.max_epochs", "2", "--ckpt_path", last, processes=1)  # version 2
    alone, shared = weights(0), weights(2)
    assert alone["head.weight"].shape == weights(1)["head.weight"].shape == (5, 12)
    assert not torch.allclose(alone["head.weight"], weights(1)["head.weight"], atol=1e-3)
    for name, value in alone.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(shared[name], value, msg=name, rtol=1e-4, atol=1e-5)

    last = "run/version_0/checkpoints/last.ckpt"
    command("test", "--ckpt_path", last, processes=1)
    command("test", "--ckpt_path", last, processes=2)
    one, two = (
        json.loads(Path(f"run/version_0/{name}/verification.json").read_text())["benchmarks"]
        for name in ("test", "test_1")
    )
    assert one == two
