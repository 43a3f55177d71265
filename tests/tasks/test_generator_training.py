"""Training of the generators: the randomness of their steps."""

from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.optim import Adam
from torch.optim.lr_scheduler import ConstantLR

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.tasks.implicit import ImplicitTraining
from qdgs_lightning.tasks.seeding import step_generator
from qdgs_lightning.tasks.vae import VAETraining

TASKS = (
    VAETraining,
    partial(ImplicitTraining, optimizer=partial(Adam, lr=0.1), scheduler=ConstantLR),
)


@pytest.mark.parametrize("task", TASKS)
def test_seeds_out_of_range_are_refused(task: partial[object]) -> None:
    for seed in (-1, 2**30):
        with pytest.raises(QDGSError, match=f"seed is {seed}; give a whole number from 0 to"):
            task(seed=seed)
    assert task(seed=2**30 - 1)


def _numbers(seed: int, rank: int, epoch: int, batch: int) -> tuple[float, ...]:
    trainer = SimpleNamespace(current_epoch=epoch)
    task = SimpleNamespace(device=torch.device("cpu"), global_rank=rank, trainer=trainer)
    random = step_generator(cast(LightningModule, task), seed, batch)
    return tuple(torch.randn(4, generator=random).tolist())


def test_every_seed_rank_epoch_and_batch_has_numbers_of_its_own() -> None:
    places = list(product((0, 1, 9), (0, 1, 2), (0, 1, 4096), (0, 1)))
    drawn = [_numbers(*place) for place in places]
    assert len(set(drawn)) == len(places)
    assert drawn == [_numbers(*place) for place in places]
