"""Ctrl-C in the midst of the work of commands: what is kept of it, and what is left behind."""

import os
import shlex
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets.records.writer import write_record_dataset
from qdgs_lightning.datasets.verification.insightface_bin import write_verification_bin
from qdgs_lightning.guidance import Evaluation
from tests.audits.identity_data import NoiseIdentities
from tests.audits.test_run import BINS
from tests.boring import BoringData, BoringTask
from tests.cli.test_main import CONFIG, written
from tests.datasets.face_sets import contents, photos
from tests.export.export_words import write_archive, write_config
from tests.faces import jpegs, portraits
from tests.toys import ToyGuidance
from tests.trainer.test_interruptions import interrupted


def hold() -> None:
    """Make a file, and wait for a signal; where the file is there already, go on."""
    try:
        Path("working").touch(exist_ok=False)
    except FileExistsError:
        return
    while True:
        time.sleep(0.01)


class HeldData(BoringData):
    """Points to validate and to predict as well."""

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All points."""
        return self._loader()

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All points."""
        return DataLoader(TensorDataset(torch.rand(8, 2)), batch_size=4)


class HeldTask(BoringTask):
    """A task whose second batch waits for a signal."""

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Log the loss."""
        if batch_idx:
            hold()
        self.log("val/loss", self._loss(batch))

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return what the line says."""
        if batch_idx:
            hold()
        line: Tensor = self.line(batch[0])
        return line


class HeldIdentities(NoiseIdentities):
    """Identities whose third batch waits for a signal; the first one is a sample."""

    def render(self, rows: Tensor) -> Tensor:
        """Draw."""
        if self.calls == 2:
            hold()
        return super().render(rows)


class HeldGuidance(ToyGuidance):
    """Guidance whose second batch waits for a signal."""

    calls = 0

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge."""
        self.calls += 1
        if self.calls == 2:
            hold()
        return super().forward(images, latents)


class HeldBackbone(nn.Module):
    """A backbone that waits for a signal."""

    embedding_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        """Average colours."""
        hold()
        return self.scale * images.mean(dim=(2, 3))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def named(part: type) -> str:
    """The name of a class of this file in a configuration."""
    return f"{part.__module__}.{part.__qualname__}"


def typed(told: str, kept: str) -> list[str]:
    """The words of the line that a sentence ends with, and that says what is kept."""
    start = f"qdgs: interrupted; {kept}: qdgs "
    assert told.startswith(start), told
    return shlex.split(told.removeprefix(start))


@pytest.mark.parametrize("command", ["validate", "predict"])
def test_a_look_at_a_fit_says_that_its_folder_holds_no_result(command: str) -> None:
    text = CONFIG.replace("tests.boring.BoringTask", named(HeldTask))
    words = [command, "--config", written(text.replace("tests.boring.BoringData", named(HeldData)))]
    told = interrupted(*words, once="working")
    kept = f"runs/boring/{command} holds no result of it; start again with"
    assert typed(told, kept) == words
    main(words)
    assert Path("runs/boring", f"{command}_1", "run.json").is_file()


def test_an_export_keeps_its_pieces_and_goes_on() -> None:
    words = [*write_config(Path(), archive=write_archive(Path())), "--output", "out"]
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["data"]["class_path"] = named(HeldIdentities)
    Path("config.yaml").write_text(yaml.safe_dump(config))
    told = interrupted(*words, once="working")
    assert typed(told, "images that were written are kept; the same line goes on") == words
    assert list(Path("out.unfinished/pieces").iterdir())
    assert not Path("out").exists()
    main(words)
    assert Path("out/card.json").is_file()
    assert not Path("out.unfinished").exists()


def test_an_audit_keeps_what_it_has_looked_at_and_goes_on() -> None:
    photos(Path("set"), [5, 10])
    guidance = {"class_path": named(HeldGuidance)}
    settings = {
        "source": {"class_path": "ImageSet", "init_args": {"path": "set", "units": "images"}},
        "annotator": {
            "class_path": "PromptAnnotator",
            "init_args": {"guidance": guidance, "bins": BINS},
        },
        "accelerator": "cpu",
        "num_bootstrap": 20,
        "batch_size": 6,
        "output": "audit",
    }
    words = ["audit", "--config", written(yaml.safe_dump(settings))]
    told = interrupted(*words, once="working")
    assert typed(told, "images that were looked at are kept; the same line goes on") == words
    assert list(contents(Path("audit"))) == ["unfinished-0.safetensors"]
    main(words)
    assert "unfinished-0.safetensors" not in contents(Path("audit"))


ANEW = "nothing of it is kept; start again with"


def test_data_identities_leaves_nothing() -> None:
    photos(Path("set"), [3, 3])
    Path("run/checkpoints").mkdir(parents=True)
    weights = {f"backbone.{name}": each for name, each in HeldBackbone().state_dict().items()}
    torch.save({"state_dict": weights}, "run/checkpoints/last.ckpt")
    backbone = {"backbone": {"class_path": named(HeldBackbone)}}
    model = {"class_path": "FaceRecognizer", "init_args": backbone}
    Path("run/config.yaml").write_text(yaml.safe_dump({"model": model}))
    words = ["data", "identities", "--path", "set", "--run", "run", "--accelerator", "cpu"]
    told = interrupted(*words, once="working")
    assert typed(told, ANEW) == words
    assert not Path("runs").exists()


@pytest.mark.parametrize("output", ["packed", "packed.bin"])
def test_data_pack_leaves_nothing(output: str) -> None:
    (image,) = jpegs(portraits(0, 1, side=224))
    Path("image.jpg").write_bytes(image)
    for person in ("a", "b"):
        Path("set", person).mkdir(parents=True)
        for number in range(10_000):
            os.link("image.jpg", Path("set", person, f"{number:05d}.jpg"))
    before = set(Path().iterdir())
    words = ["data", "pack", "--source", "set", "--output", output, "--size", "200"]
    words += ["--pairs", "6000"] if output.endswith(".bin") else []
    told = interrupted(*words, once="packed/*" if output == "packed" else "", said="Packing")
    assert typed(told, ANEW) == words
    assert set(Path().iterdir()) == before


@pytest.mark.parametrize("source", ["set", "set.bin"])
def test_data_unpack_leaves_nothing(source: str) -> None:
    (image,) = jpegs(portraits(0, 1, side=16))
    images = [image + str(number).encode() for number in range(30_000)]  # no two are alike
    if source == "set":
        write_record_dataset(Path(source), [images], height=16, width=16)
    else:
        write_verification_bin(Path(source), images, [True] * 15_000)
    words = ["data", "unpack", "--source", source, "--output", "out"]
    told = interrupted(*words, once=".unfinished_out/**/*.jpg")
    assert typed(told, ANEW) == words
    assert list(Path().iterdir()) == [Path(source)]
