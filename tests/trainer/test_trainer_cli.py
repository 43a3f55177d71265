"""Which weights a test is of, what a prediction leaves behind, and checkpoints of other models."""

import importlib.metadata
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qdgs_lightning.cli.main import main
from qdgs_lightning.models import IResNet
from qdgs_lightning.trainer.trainer_cli import TrainerCLI
from tests.boring import BoringTask
from tests.cli.test_main import CONFIG, complaint, metric, runs, written
from tests.faces import jpegs, portraits, write_benchmark


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["qdgs"])


def test_what_is_measured_without_a_checkpoint_is_said() -> None:
    config = written(CONFIG)
    main(["fit", "--config", config])
    (checkpoint,) = (runs()[0] / "checkpoints").glob("*.ckpt")
    told = "No checkpoint was given: .* untrained .*--ckpt_path RUN/checkpoints/last.ckpt"
    with pytest.warns(UserWarning, match=told):
        main(["test", "--config", config])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "No checkpoint was given")
        main(["test", "--config", config, "--ckpt_path", str(checkpoint)])
        main(["fit", "--config", config])


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, ""),
        ({"line.bias": None}, "it has no line.bias"),
        ({"net.0.weight": torch.zeros(3)}, "its net.0.weight is not in this model"),
        ({"line.weight": torch.zeros(1, 3)}, "its line.weight has the shape [1, 3], here [1, 2]"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_of_another_model_is_told_by_its_first_other_weight(
    command: str, keys: dict[str, Tensor | None], told: str
) -> None:
    config = written(CONFIG)
    main(["fit", "--config", config])
    (path,) = (runs()[0] / "checkpoints").glob("*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    weights = checkpoint["state_dict"] | keys
    checkpoint["state_dict"] = {name: each for name, each in weights.items() if each is not None}
    torch.save(checkpoint, "other.ckpt")
    words = [command, "--config", config, "--ckpt_path", "other.ckpt"]
    if not told:
        main(words)
        return
    assert complaint(*words) == (
        "qdgs: 'other.ckpt' is a checkpoint of another model than the configuration's "
        f"({told}): give --config and --ckpt_path of one run."
    )


class Lenient(BoringTask):
    """Drops what it does not have, and takes the rest as it comes."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Drop a weight."""
        del checkpoint["state_dict"]["old.weight"]

    def setup(self, stage: str) -> None:
        """Let weights be absent."""
        self.strict_loading = False


def test_what_a_task_accepts_goes_on_being_accepted() -> None:
    config = written(CONFIG.replace("tests.boring.BoringTask", f"{__name__}.Lenient"))
    weights = {"line.weight": torch.tensor([[1.0, 1.0]]), "old.weight": torch.zeros(7)}
    version = importlib.metadata.version("lightning")
    torch.save({"state_dict": weights, "pytorch-lightning_version": version}, "old.ckpt")
    main(["test", "--config", config, "--ckpt_path", "old.ckpt"])
    assert metric(Path("runs/boring/test"), "test/loss") < 1  # of the inputs' sum, all but the bias


class Broken(BoringTask):
    """Fails in a way of its own."""

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Raise."""
        raise RuntimeError("no matter of weights")


def test_other_errors_of_a_test_stay_what_they_are() -> None:
    main(["fit", "--config", written(CONFIG)])
    (path,) = (runs()[0] / "checkpoints").glob("*.ckpt")
    config = written(CONFIG.replace("tests.boring.BoringTask", f"{__name__}.Broken"))
    with pytest.raises(RuntimeError, match="no matter of weights"):
        main(["test", "--config", config, "--ckpt_path", str(path)])


def test_what_cannot_be_predicted_is_told() -> None:
    told = complaint("predict", "--config", written(CONFIG))
    assert told.startswith("qdgs: BoringData has nothing to predict: `qdgs predict` embeds faces")


FACES = """
model:
  class_path: FaceRecognizer
  init_args:
    backbone:
      class_path: IResNet
      init_args: {layers: [1, 1, 1, 1], width: 2, embedding_dim: 8, image_size: 32}
data:
  class_path: FaceDataModule
  init_args: {predict: photos, image_size: 32, num_workers: 0}
trainer:
  accelerator: cpu
  enable_progress_bar: false
  logger: {class_path: CSVLogger, init_args: {save_dir: runs, name: boring}}
"""


def test_predict_writes_embeddings_without_being_told_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("photos/anna").mkdir(parents=True)
    for index, image in enumerate(jpegs(portraits(0, 3, side=32))):
        Path(f"photos/anna/{index}.jpg").write_bytes(image)
    config = written(FACES)
    with pytest.warns(UserWarning, match="No checkpoint was given"):
        main(["predict", "--config", config])
    folder = Path("runs/boring/predict")
    assert capsys.readouterr().out.endswith(f"Run folder: {folder}\n")
    rows = np.load(folder / "embeddings.npy")
    assert rows.shape == (3, 8)
    names = (folder / "embeddings.csv").read_text().splitlines()[1:]
    assert names == [f"anna/{index}.jpg,0" for index in range(3)]


def test_the_weights_that_a_test_is_of_are_named_where_init_from_brings_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_benchmark(Path("faces/lfw.bin"), range(3), n=40)
    layers, width = [1, 1, 1, 1], 2
    backbone = IResNet(layers=layers, width=width, embedding_dim=8, image_size=32)
    weights = {f"backbone.{name}": each for name, each in backbone.state_dict().items()}
    torch.save({"state_dict": weights}, "first_stage.ckpt")
    tested = FACES.replace("predict: photos", "benchmarks: faces, test_on: [lfw]")
    words = ["test", "--config", written(tested), "--model.init_args.init_from", "first_stage.ckpt"]
    lightning = logging.getLogger("lightning.pytorch")  # older versions keep it from the others
    lightning.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "No checkpoint was given")
            main(words)
    finally:
        lightning.removeHandler(caplog.handler)
    assert "these are the weights of `init_from`, first_stage.ckpt" in caplog.text


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("precision", "bf16-true", "converts the network and not the images"),
        ("check_val_every_n_epoch", "0", "check_val_every_n_epoch is 0: give 1 or more"),
    ],
)
def test_settings_that_would_fail_later_are_refused_first(
    option: str, value: str, told: str
) -> None:
    words = ["fit", "--config", written(CONFIG), f"--trainer.{option}", value]
    assert told in complaint(*words)
    assert not Path("runs").exists()


def test_one_device_is_taken_unless_told_otherwise() -> None:
    cli = TrainerCLI(["fit", "--config", written(CONFIG)])
    assert cli.config.fit.trainer.devices == 1
