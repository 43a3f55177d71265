"""The recogniser: what it trains, measures, refuses and keeps."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from qdgs_lightning.callbacks import EmbeddingWriter
from qdgs_lightning.datamodules import DataModuleError, FaceAugmentation, FaceDataModule
from qdgs_lightning.datasets import load_verification_pairs
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.metrics import verification_accuracy
from qdgs_lightning.models import AdaFace, ArcFace, CosFace, IResNet
from qdgs_lightning.sampling import PriorSampler
from qdgs_lightning.tasks import FaceRecognitionError, FaceRecognizer
from tests.datasets.test_resumable_loading import Keeper
from tests.faces import write_benchmark, write_training_set
from tests.identities.identity_toys import BINS, CountingGenerator, toy_data


def small(**options: Any) -> IResNet:
    torch.manual_seed(0)
    settings = {"layers": (1, 1, 1, 1), "width": 4, "embedding_dim": 16, "image_size": 32}
    return IResNet(**{**settings, **options})


def sgd(parameters: Any) -> SGD:  # noqa: ANN401
    return SGD(parameters, lr=0.05, momentum=0.9)


def trainer(folder: Path, **options: Any) -> Trainer:
    return Trainer(
        **{
            "accelerator": "cpu",
            "logger": CSVLogger(folder, name="run"),
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            **options,
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> FaceDataModule:
    """Four identities, and three benchmarks of others."""
    write_training_set(tmp_path / "set")
    write_benchmark(tmp_path / "lfw.bin", range(10, 16))
    write_benchmark(tmp_path / "rfw_asian.bin", range(20, 26))
    write_benchmark(tmp_path / "rfw_indian.bin", range(30, 36))
    return FaceDataModule(
        train=tmp_path / "set",
        benchmarks=tmp_path,
        validate_on=["lfw"],
        test_on=["lfw", "rfw_asian", "rfw_indian"],
        merge={"dark": ["rfw_indian"], "light": ["rfw_asian"]},
        predict=tmp_path / "lfw.bin",
        augmentation=FaceAugmentation(flip=0, crop=0, low_resolution=0, photometric=0),
        batch_size=8,
        eval_batch_size=9,
        num_workers=0,
        image_size=32,
    )


def embedded(backbone: nn.Module, path: Path) -> tuple[Tensor, Tensor]:
    """Return distances and labels of a benchmark, straight from the definition."""
    pairs = load_verification_pairs(path, image_size=32)
    images = torch.stack([pairs[i][0] for i in range(len(pairs))]).float() / 255
    backbone.eval()
    with torch.no_grad():
        fused = backbone(images) + backbone(images.flip(-1))
    unit = fused / fused.norm(dim=1, keepdim=True)
    first, second = unit[pairs.pairs[:, 0]], unit[pairs.pairs[:, 1]]
    return (first - second).square().sum(1), pairs.is_same


def test_training_is_that_of_a_plain_loop(tmp_path: Path, data: FaceDataModule) -> None:
    class Noted(FaceRecognizer):
        """Keeps its batches."""

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401
            """Keep it, and train."""
            batches.append(batch)
            return super().training_step(batch, batch_idx)

    batches: list[Any] = []
    recognizer = Noted(backbone=small(), head=CosFace, optimizer=sgd)
    torch.manual_seed(1)
    trainer(tmp_path, max_epochs=2).fit(recognizer, datamodule=data)
    backbone = small().train()
    torch.manual_seed(1)
    head = CosFace(16, 4)
    optimizer = sgd([*backbone.parameters(), *head.parameters()])
    for images, identities in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(backbone(images), identities), identities)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(recognizer.backbone.state_dict()[name], value)
    assert recognizer.head is not None
    torch.testing.assert_close(recognizer.head.weight, head.weight)


def test_a_test_reports_what_the_protocol_says(tmp_path: Path, data: FaceDataModule) -> None:
    backbone = small()
    ours = trainer(tmp_path)
    logged = ours.test(
        FaceRecognizer(backbone=backbone, num_bootstrap=50), datamodule=data, verbose=False
    )[0]
    folder = tmp_path / "run" / "version_0"
    kept = json.loads((folder / "verification.json").read_text())
    rows = list(csv.DictReader((folder / "verification.csv").open()))
    assert [row["benchmark"] for row in rows] == ["lfw", "rfw_asian", "rfw_indian"]
    for row in rows:
        name = row["benchmark"]
        truth = verification_accuracy(*embedded(backbone, tmp_path / f"{name}.bin"))
        assert logged[f"test/{name}"] == pytest.approx(truth.accuracy)
        assert float(row["accuracy"]) == kept["benchmarks"][name]["accuracy"] == truth.accuracy
        assert float(row["eer"]) == pytest.approx(truth.eer)
    assert logged["test/mean"] == pytest.approx(kept["benchmarks"]["lfw"]["accuracy"])
    own = kept["groups"]["rfw"]["own"]
    accuracies = {n: kept["benchmarks"][n]["accuracy"] for n in ("rfw_asian", "rfw_indian")}
    assert {n: a["value"] for n, a in own["accuracies"].items()} == pytest.approx(accuracies)
    ratio = min(accuracies.values()) / max(accuracies.values())
    assert logged["test/rfw/own/disparate_impact"] == pytest.approx(ratio)
    assert logged["test/rfw/own/dark"] == pytest.approx(accuracies["rfw_indian"])
    ratio = accuracies["rfw_indian"] / accuracies["rfw_asian"]
    assert logged["test/rfw/own/dark_to_light"] == pytest.approx(ratio)
    assert kept["protocol"] == "insightface"
    assert kept["color_order"] == "rgb"
    assert kept["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert (folder / "figures" / "test-roc_step0000000.png").stat().st_size > 10_000


def test_validation_is_the_same_accuracy(tmp_path: Path, data: FaceDataModule) -> None:
    recognizer = FaceRecognizer(backbone=small(), head=ArcFace, optimizer=sgd)
    ours = trainer(tmp_path, max_epochs=1, num_sanity_val_steps=2)
    ours.fit(recognizer, datamodule=data)
    truth = verification_accuracy(*embedded(recognizer.backbone, tmp_path / "lfw.bin"))
    assert float(ours.callback_metrics["val/lfw"]) == pytest.approx(truth.accuracy)
    assert float(ours.callback_metrics["val/mean"]) == pytest.approx(truth.accuracy)


def test_predictions_are_kept_with_names(tmp_path: Path, data: FaceDataModule) -> None:
    backbone = small()
    ours = trainer(tmp_path, callbacks=[EmbeddingWriter()])
    ours.predict(FaceRecognizer(backbone=backbone), datamodule=data, return_predictions=False)
    folder = tmp_path / "run" / "version_0"
    rows = torch.from_numpy(np.load(folder / "embeddings.npy"))
    pairs = load_verification_pairs(tmp_path / "lfw.bin", image_size=32)
    # A row for each image of the file, also for one that stands in several pairs.
    assert len(pairs) < len(rows) == 2 * len(pairs.pairs)
    distances = (rows[0::2] - rows[1::2]).square().sum(1)
    torch.testing.assert_close(distances, embedded(backbone, tmp_path / "lfw.bin")[0])
    names = list(csv.DictReader((folder / "embeddings.csv").open()))
    assert [row["name"] for row in names] == [str(i) for i in range(len(rows))]
    assert {row["identity"] for row in names} == {"-1"}
    assert not list(folder.glob(".unfinished*"))


def test_predictions_of_a_part_are_not_kept(
    tmp_path: Path, data: FaceDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = FaceRecognizer(backbone=small())
    ours = trainer(tmp_path, callbacks=[EmbeddingWriter()], limit_predict_batches=1)
    with pytest.raises(
        QDGSError, match=r"9 of \d+ images were embedded, .* `limit_predict_batches`"
    ):
        ours.predict(recognizer, datamodule=data, return_predictions=False)
    monkeypatch.chdir(tmp_path)
    trial = trainer(tmp_path, callbacks=[EmbeddingWriter()], fast_dev_run=True)
    trial.predict(recognizer, datamodule=data, return_predictions=False)
    assert not [path for path in tmp_path.rglob("*") if "embeddings" in path.name]


def test_a_checkpoint_serves_another_head_or_none(tmp_path: Path, data: FaceDataModule) -> None:
    recognizer = FaceRecognizer(backbone=small(), head=AdaFace, optimizer=sgd)
    first = trainer(tmp_path, max_epochs=1)
    first.fit(recognizer, datamodule=data)
    path = tmp_path / "last.ckpt"
    first.save_checkpoint(path)
    # Testing needs no head.
    tested = FaceRecognizer(backbone=small(), num_bootstrap=0)
    trainer(tmp_path).test(tested, datamodule=data, ckpt_path=path, verbose=False)
    for name, value in recognizer.backbone.state_dict().items():
        assert torch.equal(tested.backbone.state_dict()[name], value)
    # The backbone alone may begin another training, with a larger head.
    following = FaceRecognizer(
        backbone=small(), head=ArcFace, num_classes=9, init_from=path, optimizer=sgd
    )
    other = trainer(tmp_path, max_epochs=1, limit_train_batches=0)
    other.fit(following, datamodule=data)
    assert following.head is not None
    assert following.head.weight.shape == (9, 16)
    for name, value in recognizer.backbone.state_dict().items():
        assert torch.equal(following.backbone.state_dict()[name], value)
    # Going on with that run needs a head of the same size.
    with pytest.raises(FaceRecognitionError, match="head is of 4 identities and this one of 9"):
        trainer(tmp_path, max_epochs=2).fit(following, datamodule=data, ckpt_path=path)


def test_weights_are_taken_over_once(tmp_path: Path, data: FaceDataModule) -> None:
    path = tmp_path / "first.ckpt"
    first = trainer(tmp_path, max_epochs=0)
    first.fit(FaceRecognizer(backbone=small(), head=AdaFace, optimizer=sgd), datamodule=data)
    first.save_checkpoint(path)
    recognizer = FaceRecognizer(
        backbone=small(), head=AdaFace, optimizer=sgd, init_from=path, num_bootstrap=0
    )
    ours = trainer(tmp_path, max_epochs=1)
    ours.fit(recognizer, datamodule=data)
    fitted = {name: value.clone() for name, value in recognizer.backbone.state_dict().items()}
    begun = torch.load(path, weights_only=True)["state_dict"]
    assert not torch.equal(fitted["fc.weight"], begun["backbone.fc.weight"])
    ours.test(recognizer, datamodule=data, verbose=False)  # of what was trained, not of the file
    for name, value in recognizer.backbone.state_dict().items():
        assert torch.equal(fitted[name], value), name


def test_a_resumed_run_goes_on_as_it_would_have(tmp_path: Path, data: FaceDataModule) -> None:
    data.augmentation = FaceAugmentation()
    data.num_workers, data.eval_batch_size = 2, 80

    def run(checkpoint: str | None = None, **options: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        recognizer = FaceRecognizer(backbone=small(), head=AdaFace, optimizer=sgd, warmup=1)
        trainer(tmp_path, max_epochs=2, val_check_interval=0.5, **options).fit(
            recognizer,
            datamodule=data,
            ckpt_path=None if checkpoint is None else tmp_path / f"{checkpoint}.ckpt",
        )
        return recognizer.state_dict()

    whole = run(callbacks=[Keeper(tmp_path)])
    for checkpoint in ("0-2", "0-1-validated", "0-end"):
        resumed = run(checkpoint)
        for name, value in whole.items():
            torch.testing.assert_close(resumed[name], value, msg=f"{checkpoint} {name}")


def test_a_prolonged_run_needs_a_longer_schedule(tmp_path: Path, data: FaceDataModule) -> None:
    def run(epochs: int, steps: int, checkpoint: Path | None = None) -> Trainer:
        cycle = partial(OneCycleLR, max_lr=0.05, total_steps=steps)
        settings: dict[str, Any] = {"scheduler": cycle, "interval": "step", "optimizer": sgd}
        recognizer = FaceRecognizer(backbone=small(), head=CosFace, **settings)
        found = trainer(tmp_path, max_epochs=epochs, limit_val_batches=0)
        found.fit(recognizer, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        return found

    run(1, 4).save_checkpoint(tmp_path / "last.ckpt")
    assert run(2, 8, tmp_path / "last.ckpt").global_step == 8


class Rates(Callback):
    """Notes the learning rate of every batch."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Note it."""
        self.found.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"max_epochs": 3}, 8),
        ({"max_steps": 9}, 8),
        ({"max_epochs": 30, "max_steps": 9}, 8),
        ({"max_epochs": -1, "max_steps": 9}, 8),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 4),  # two steps to an epoch
        ({"max_epochs": 3, "limit_train_batches": 3}, 6),
    ],
    ids=str,
)
def test_a_warm_up_takes_the_epochs_that_it_was_given(
    tmp_path: Path, data: FaceDataModule, limits: dict[str, int], steps: int
) -> None:
    """Two epochs of four batches, whatever else the trainer is told."""
    rates = Rates()
    recognizer = FaceRecognizer(backbone=small(), head=ArcFace, optimizer=sgd, warmup=2)
    ours = trainer(tmp_path, limit_val_batches=0, callbacks=[rates], **limits)
    ours.fit(recognizer, datamodule=data)
    assert ours.global_step >= 6
    each = limits.get("accumulate_grad_batches", 1)
    for batch, rate in enumerate(rates.found):
        step = 2 * (batch // 4) + batch % 4 // each if each > 1 else batch
        assert rate == pytest.approx(0.05 * min(1, (step + 1) / steps))


def test_a_warm_up_in_epochs_needs_data_that_are_there(tmp_path: Path) -> None:
    recognizer = FaceRecognizer(backbone=small(), head=ArcFace, optimizer=sgd, warmup=1)
    with pytest.raises(DataModuleError, match=r"add the QDRefresh callback .*count `warmup` in s"):
        trainer(tmp_path, max_epochs=1, reload_dataloaders_every_n_epochs=1).fit(
            recognizer, datamodule=toy_data(image_size=32)
        )


def test_a_loss_that_is_not_finite_keeps_the_batch(tmp_path: Path, data: FaceDataModule) -> None:
    backbone = small()
    with torch.no_grad():
        backbone.fc.weight[0, 0] = float("nan")
    recognizer = FaceRecognizer(backbone=backbone, head=ArcFace, optimizer=sgd)
    with pytest.raises(FaceRecognitionError, match=r"The loss is nan at step 0; the batch is kept"):
        trainer(tmp_path, max_epochs=1).fit(recognizer, datamodule=data)
    (path,) = (tmp_path / "run" / "version_0").glob("not_finite_step0000000_rank0.safetensors")
    kept = load_file(path)
    assert kept["images"].shape == (8, 3, 32, 32)
    assert kept["identities"].shape == (8,)
    assert kept["embeddings"].isnan().any()


def test_embeddings_that_are_not_finite_have_no_accuracy(
    tmp_path: Path, data: FaceDataModule
) -> None:
    backbone = small()
    with torch.no_grad():
        backbone.fc.weight[0, 0] = float("nan")
    with pytest.raises(FaceRecognitionError, match=r"lfw: .* not finite"):
        trainer(tmp_path).test(FaceRecognizer(backbone=backbone), datamodule=data, verbose=False)


def test_precision_of_measurement_is_full_unless_asked(
    tmp_path: Path, data: FaceDataModule
) -> None:
    found = {}
    for name, precision, autocast in (
        ("full", "32-true", False),
        ("mixed", "bf16-mixed", False),
        ("half", "bf16-mixed", True),
    ):
        recognizer = FaceRecognizer(backbone=small(), eval_autocast=autocast, num_bootstrap=0)
        ours = trainer(tmp_path / name, precision=precision, callbacks=[EmbeddingWriter()])
        ours.predict(recognizer, datamodule=data, return_predictions=False)
        found[name] = np.load(tmp_path / name / "run" / "version_0" / "embeddings.npy")
    assert np.array_equal(found["full"], found["mixed"])
    assert 1e-4 < np.abs(found["full"] - found["half"]).max() < 0.1


def test_channels_last_changes_no_accuracy(tmp_path: Path, data: FaceDataModule) -> None:
    backbone = small()
    truth = verification_accuracy(*embedded(backbone, tmp_path / "lfw.bin"))
    recognizer = FaceRecognizer(backbone=backbone, channels_last=True, num_bootstrap=0)
    logged = trainer(tmp_path).test(recognizer, datamodule=data, verbose=False)[0]
    assert logged["test/lfw"] == pytest.approx(truth.accuracy)
    assert backbone.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_compilation_is_asked_for(tmp_path: Path, data: FaceDataModule) -> None:
    backbone = small()
    truth = verification_accuracy(*embedded(backbone, tmp_path / "lfw.bin"))
    with torch.compiler.set_stance("force_eager"):  # for want of a compiler on every machine
        recognizer = FaceRecognizer(backbone=backbone, compile=True, num_bootstrap=0)
        logged = trainer(tmp_path).test(recognizer, datamodule=data, verbose=False)[0]
    assert backbone._compiled_call_impl is not None
    assert logged["test/lfw"] == pytest.approx(truth.accuracy)


def test_a_head_that_is_missing_or_too_small_is_refused(
    tmp_path: Path, data: FaceDataModule
) -> None:
    for options, complaint in (
        ({}, "Training needs a head"),
        ({"head": ArcFace, "num_classes": 3}, "num_classes is 3, but the training set has 4"),
    ):
        recognizer = FaceRecognizer(backbone=small(), **options)  # type: ignore[arg-type]
        with pytest.raises(FaceRecognitionError, match=complaint):
            trainer(tmp_path, max_epochs=1).fit(recognizer, datamodule=data)


def test_images_of_another_size_are_refused_before_any_is_drawn(tmp_path: Path) -> None:
    data = toy_data(image_size=16, sampler=PriorSampler(bins=BINS, evaluations=50))
    recognizer = FaceRecognizer(backbone=small(), head=ArcFace)
    with pytest.raises(FaceRecognitionError, match="16 pixels and the backbone takes 32"):
        trainer(tmp_path, max_epochs=1, reload_dataloaders_every_n_epochs=1).fit(
            recognizer, datamodule=data
        )
    assert isinstance(data.generator, CountingGenerator)
    assert data.generator.drawn == 0
