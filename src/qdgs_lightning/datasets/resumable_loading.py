"""Loaders that go on, in a resumed run, with the batch after the last one that was shown."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

Item = TypeVar("Item", covariant=True)


class ResumableSampler(DistributedSampler[Item]):
    """A `DistributedSampler` that goes on from the epoch and batch that the trainer is at.

    Args:
        dataset: What is loaded.
        trainer: Counts epochs, and the batches that it has shown of one, and keeps the counts in
            checkpoints.
        batch_size: Items per batch of the loader.
        num_replicas: See `DistributedSampler`, as for the others.
        rank: Of this process.
        shuffle: Whether every epoch has an order of its own.
        seed: Of these orders.
        drop_last: Whether what does not divide among the ranks is left out.
    """

    def __init__(
        self,
        dataset: Dataset[Item],
        *,
        trainer: Trainer,
        batch_size: int,
        num_replicas: int,
        rank: int,
        shuffle: bool,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed, drop_last)
        self._trainer = trainer
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[Any]:
        """Give the indices of what is left of the epoch."""
        shown = 0
        if self._trainer.training:
            # A trainer with `max_steps` that was resumed tells samplers the epoch after this one.
            self.set_epoch(self._trainer.current_epoch)
            shown = self._trainer.fit_loop.batch_idx + 1
        return islice(super().__iter__(), shown * self._batch_size, None)


class ResumableLoader(DataLoader[Item]):
    """A `DataLoader` that asks its `ResumableSampler` when the first batch is wanted.

    The trainer makes iterators before it knows epoch and batch: always before it has begun the
    epoch, and before it has restored them if the length of an epoch is asked for. Workers would be
    loading the first batches of another epoch by then.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Load what is left of the epoch."""
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: Lightning takes a loader with a state for one that can be resumed."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing: the trainer knows the place."""
