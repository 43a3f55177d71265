"""Training of the generators: what is refused before it starts."""

from functools import partial

import pytest
from torch.optim import Adam
from torch.optim.lr_scheduler import ConstantLR

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.tasks.implicit import ImplicitTraining
from qdgs_lightning.tasks.vae import VAETraining

TASKS = (
    VAETraining,
    partial(ImplicitTraining, optimizer=partial(Adam, lr=0.1), scheduler=ConstantLR),
)


@pytest.mark.parametrize("task", TASKS)
def test_seeds_that_leave_no_room_for_rank_and_step_are_refused(task: partial[object]) -> None:
    for seed in (-1, 65536):
        with pytest.raises(QDGSError, match=f"seed is {seed}; give a whole number from 0 to"):
            task(seed=seed)
    assert task(seed=65535)
