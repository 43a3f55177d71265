"""Time reading records, verification and a training step, each against what it replaces.

    OMP_NUM_THREADS=1 python -m benchmarks.recognition --mxnet_python mxnet-env/bin/python

mxnet is not part of this package: tests/peers/make_mxnet_records.py says how to make an
environment that has it; without one that comparison is left out. Sides run in turns, and figures
are medians of their repeats.
"""

import os
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from benchmarks.jacobian import cpu_seconds
from jsonargparse import auto_cli
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.io import encode_jpeg
from torchvision.transforms.v2.functional import pil_to_tensor

from qdgs_lightning.datasets import RecordIODataset
from qdgs_lightning.datasets.records.writer import write_record_dataset
from qdgs_lightning.metrics import verification_accuracy
from qdgs_lightning.models import ArcFace, IResNet
from qdgs_lightning.tasks import FaceRecognizer

MXNET = """
import sys, time
import numpy
numpy.bool = bool
import mxnet
from mxnet import recordio
file = recordio.MXIndexedRecordIO(sys.argv[1] + "/train.idx", sys.argv[1] + "/train.rec", "r")
begin = time.process_time()
for key in range(1, int(sys.argv[2]) + 1):
    _, image = recordio.unpack(file.read_idx(key))
    mxnet.image.imdecode(image).asnumpy()
print(time.process_time() - begin)
"""


def faces(n: int) -> list[bytes]:
    """Return smooth JPEG images of 112 pixels and some 6 kB."""
    small = torch.rand(n, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(small, (112, 112), mode="bicubic").clamp(0, 1)
    return [bytes(encode_jpeg(image, 95).numpy()) for image in images.mul(255).byte()]


def read_all(dataset: Dataset[Any], *, workers: int) -> None:
    """Load every image once."""
    for _ in DataLoader(dataset, batch_size=64, num_workers=workers):
        pass


def with_children(function: Callable[[], object]) -> tuple[float, float]:
    """Return how long a call takes, and for how long it keeps this and its own processes busy."""
    begin, before = time.perf_counter(), os.times()
    function()
    after = os.times()
    busy = sum(after[:4]) - sum(before[:4])
    return time.perf_counter() - begin, busy


def records(folder: Path, *, mxnet_python: Path | None, repeats: int) -> None:
    """Compare decoding with mxnet's, and loaders with those of single files."""
    kept, (identities, each) = faces(200), (40, 100)
    of = [[kept[(7 * i + k) % 200] for k in range(each)] for i in range(identities)]
    write_record_dataset(folder / "records", of, height=112, width=112)
    for identity, images in enumerate(of):
        place = folder / "files" / f"{identity:03d}"
        place.mkdir(parents=True)
        for index, image in enumerate(images):
            (place / f"{index:03d}.jpg").write_bytes(image)
    ours = RecordIODataset(folder / "records")
    theirs = ImageFolder(str(folder / "files"), transform=pil_to_tensor)
    n = identities * each

    def decode() -> None:
        for index in range(n):
            ours[index]

    single: dict[str, list[float]] = {"ours": [], "mxnet": []}
    for _ in range(repeats):
        single["ours"].append(n / cpu_seconds(decode))
        if mxnet_python is not None:
            command = [str(mxnet_python), "-c", MXNET, str(folder / "records"), str(n)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            single["mxnet"].append(n / float(said))
    mine = statistics.median(single["ours"])
    print(f"records decoded in one thread: {mine:,.0f} images a CPU-second")
    if mxnet_python is not None:
        its = statistics.median(single["mxnet"])
        print(f"  mxnet: {its:,.0f}, ratio {mine / its:.2f} (wanted 1.3)")
    for workers in (0, 1, 2):
        rates: dict[str, list[tuple[float, float]]] = {"records": [], "files": []}
        for _ in range(repeats):
            for name, dataset in (("records", ours), ("files", theirs)):
                taken, busy = with_children(
                    lambda data=dataset, w=workers: read_all(data, workers=w)  # type: ignore[misc]
                )
                rates[name].append((n / taken, n / busy))
        a, b = (np.median(rates[name], axis=0) for name in ("records", "files"))
        print(
            f"loader, {workers} worker(s): {a[0]:,.0f} images/s from records, {b[0]:,.0f} from an "
            f"ImageFolder: ratio {a[0] / b[0]:.2f}, by CPU-seconds {a[1] / b[1]:.2f} (wanted 1.0)"
        )


def four_hundred_thresholds(
    distances: NDArray[np.float64], same: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the accuracy of ten folds by trying each threshold on each, as insightface does."""
    grid, accuracies = np.arange(0, 4, 0.01), np.zeros(10)
    for fold, test in enumerate(np.array_split(np.arange(len(same)), 10)):
        train = np.setdiff1d(np.arange(len(same)), test)
        rates = np.zeros(len(grid))
        for index, threshold in enumerate(grid):
            accepted = distances[train] < threshold
            hits = np.sum(accepted & same[train])
            refused = np.sum(~accepted & ~same[train])
            rates[index] = (hits + refused) / len(train)
        accepted = distances[test] < grid[rates.argmax()]
        accuracies[fold] = np.mean(accepted == same[test])
    return accuracies


def verification(*, repeats: int) -> None:
    """Compare five benchmarks' accuracies with a loop over thresholds and folds."""
    random = np.random.default_rng(0)
    sets = []
    for n in (6000, 7000, 6000, 6000, 6000):
        same = np.arange(n) // (n // 20) % 2 == 0
        sets.append((np.clip(random.normal(np.where(same, 1.0, 1.8), 0.25), 0, 4), same))
    tensors = [(torch.from_numpy(d), torch.from_numpy(s)) for d, s in sets]
    times: dict[str, list[float]] = {"ours": [], "loop": []}
    for _ in range(repeats):
        times["ours"].append(cpu_seconds(lambda: [verification_accuracy(d, s) for d, s in tensors]))
        times["loop"].append(cpu_seconds(lambda: [four_hundred_thresholds(d, s) for d, s in sets]))
    for (d, s), (distances, same) in zip(tensors, sets, strict=True):
        assert np.allclose(
            verification_accuracy(d, s).fold_accuracies, four_hundred_thresholds(distances, same)
        )
    mine, its = statistics.median(times["ours"]), statistics.median(times["loop"])
    print(
        f"verification of five benchmarks: {mine * 1e3:.0f} ms, and {its * 1e3:,.0f} ms by the "
        f"loop: ratio {its / mine:.0f} (wanted 50)"
    )


class Stopwatch(Callback):
    """Takes the time from the first step to the end of the last one."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self.begin = time.process_time()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End."""
        self.taken = time.process_time() - self.begin


class _Data(LightningDataModule):
    """Images that are ready."""

    num_classes = 100
    benchmarks: dict[str, Any] = {}  # noqa: RUF012
    groups = merge = benchmarks

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.dataset = TensorDataset(images, labels)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Load them in order."""
        return DataLoader(self.dataset, batch_size=64)


def small() -> IResNet:
    """Return a small backbone."""
    torch.manual_seed(0)
    return IResNet(layers=(1, 1, 1, 1), width=8, dropout=0.0)


def sgd(parameters: Any) -> SGD:  # noqa: ANN401
    """Return the optimizer of both sides."""
    return SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)


def trainer_overhead(folder: Path, *, steps: int, repeats: int) -> None:
    """Compare a step of FaceRecognizer under the Trainer with a bare loop's."""
    images = torch.rand(64 * steps, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(64 * steps) % 100

    def bare() -> float:
        backbone, head = small().train(), ArcFace(512, 100)
        optimizer = sgd([*backbone.parameters(), *head.parameters()])
        begin = time.process_time()
        for batch, identities in _Data(images, labels).train_dataloader():
            optimizer.zero_grad()
            loss = F.cross_entropy(head(backbone(batch), identities), identities)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return time.process_time() - begin

    def trained() -> float:
        watch = Stopwatch()
        recognizer = FaceRecognizer(backbone=small(), head=ArcFace, optimizer=sgd)
        trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=True,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=True,
            enable_model_summary=False,
            callbacks=[watch],
        )
        trainer.fit(recognizer, datamodule=_Data(images, labels))
        return watch.taken

    times: dict[str, list[float]] = {"ours": [], "bare": []}
    trained()  # what is imported and allocated once
    for _ in range(repeats):
        times["bare"].append(bare() / steps)
        times["ours"].append(trained() / steps)
    mine, its = statistics.median(times["ours"]), statistics.median(times["bare"])
    print(
        f"a training step of 64 images: {mine * 1e3:.1f} ms under the Trainer, {its * 1e3:.1f} ms "
        f"bare: {mine / its - 1:+.1%} (wanted at most +3 %)"
    )


def main(mxnet_python: Path | None = None, *, repeats: int = 5, steps: int = 10) -> None:
    """Print all comparisons.

    Args:
        mxnet_python: Python of an environment that has mxnet.
        repeats: How often each side runs.
        steps: Training steps of each repeat.
    """
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        records(Path(folder), mxnet_python=mxnet_python, repeats=repeats)
        verification(repeats=repeats)
        trainer_overhead(Path(folder), steps=steps, repeats=repeats)


if __name__ == "__main__":
    cast(Any, auto_cli)(main)
