"""Faces of a generator on two processes: which images each shows, and what both learn."""

import operator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn import functional as F

from qdgs_lightning.search import Archive
from tests.identities.identity_toys import (
    Recorder,
    fit,
    found_archives,
    toy_data,
)
from tests.ranks import end_ranks, start_ranks


class Learner(Recorder):
    """Learns classes, and keeps the gradients of its first step."""

    automatic_optimization = True

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 200)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.gradient = torch.empty(0)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # type: ignore[override] # noqa: ANN401
        """Keep and learn it."""
        super().training_step(batch, batch_idx)
        return F.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def on_after_backward(self) -> None:
        """Keep gradients."""
        if not len(self.gradient):
            assert self.layer.weight.grad is not None
            self.gradient = self.layer.weight.grad.clone()

    def configure_optimizers(self) -> torch.optim.Optimizer:  # type: ignore[override]
        """Plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def learn(rank: int, folder: Path, world: int) -> None:
    """Train two epochs, with a refresh between them, and write what this rank has seen."""
    paths = sorted(folder.glob("archive*.safetensors"))
    data = toy_data(batch_size=8 // world, cache="host")
    learner = Learner()
    fit(
        folder,
        data,
        learner,
        epochs=2,
        archives=[Archive.load(path) for path in paths],
        devices=world,
        strategy=DDPStrategy(process_group_backend="gloo") if world > 1 else "auto",
    )
    assert data._images is not None
    seen = {
        "state": data.state_dict(),
        "epochs": [learner.epoch(epoch) for epoch in (0, 1)],
        "gradient": learner.gradient,
        "cached": len(data._images._images),
    }
    torch.save(seen, folder / f"{rank}_of_{world}.pt")


@pytest.mark.slow
def test_two_processes_share_what_one_learns(tmp_path: Path) -> None:
    for number, archive in enumerate(found_archives()[:3]):
        archive.save(tmp_path / f"archive{number}.safetensors")
    assert end_ranks(start_ranks(learn, tmp_path, 2)) == [0, 0]
    learn(0, tmp_path, 1)
    alone, first, second = (
        torch.load(tmp_path / name, weights_only=True)
        for name in ("0_of_1.pt", "0_of_2.pt", "1_of_2.pt")
    )
    for one in (first, second):
        for name, value in alone["state"]["identities"].items():
            same = torch.equal if isinstance(value, Tensor) else operator.eq
            assert same(one["state"]["identities"][name], value), name
        torch.testing.assert_close(one["gradient"], alone["gradient"])
        assert (one["cached"], alone["cached"]) == (24, 48)
    for epoch in (0, 1):
        images, classes = (
            torch.stack(pair, 1).flatten(0, 1)
            for pair in zip(first["epochs"][epoch], second["epochs"][epoch], strict=True)
        )
        assert torch.equal(images, alone["epochs"][epoch][0])
        assert torch.equal(classes, alone["epochs"][epoch][1])
        assert len({tuple(image.flatten().tolist()) for image in images}) == 48
