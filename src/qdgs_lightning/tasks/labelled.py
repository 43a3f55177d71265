"""Batches of images with what is known of them."""

from typing import Protocol

from torch import Tensor


class Labelled(Protocol):
    """A batch of images; domains add what is known of each."""

    @property
    def images(self) -> Tensor:
        """RGB in [0, 1], shape ``[n, 3, S, S]``."""
