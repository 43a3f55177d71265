"""Random batches of a task, for measuring how long its steps take."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class HasExamples(Protocol):
    """A task that can make batches of the shapes and types that it learns from."""

    def example_batch(self, n: int, *, random: torch.Generator) -> tuple[Tensor, ...]:
        """Make a batch without meaning.

        Args:
            n: Images in it.
            random: Source of its numbers.

        Returns:
            What `training_step` takes, on the CPU.
        """
