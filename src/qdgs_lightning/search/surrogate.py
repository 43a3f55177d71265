"""A cheap model of objective and measures over the whole latent space."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

Floats = NDArray[np.float32]


class Surrogate:
    """Ridge regression on random ReLU features (Rahimi and Recht 2007; Cho and Saul 2009).

    It learns from every evaluation by adding to the normal equations, so that it is exact whatever
    the order, never forgets, and takes as much memory after a million evaluations as after one.

    Attributes:
        dim: Coordinates of a latent.
        count: How many evaluations were learnt from.

    Args:
        dim: Coordinates D of a latent.
        num_values: Values m that are predicted.
        num_features: Random features; the memory is their square.
        seed: Draws the features, which are therefore not part of the state.

    Example:
        >>> surrogate = Surrogate(dim=2, num_values=1, num_features=64, seed=0)
        >>> points = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
        >>> surrogate.add(points, np.abs(points[:, :1]))
        >>> bool(abs(surrogate.predict(np.array([[-1, 0]], np.float32)) - 1) < 0.1)
        True
    """

    def __init__(
        self, *, dim: int, num_values: int, num_features: int = 512, seed: int = 0
    ) -> None:
        self.dim = dim
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((dim, num_features), dtype=np.float32)
        self._directions = directions / np.linalg.norm(directions, axis=0)
        self._offsets = rng.standard_normal(num_features, dtype=np.float32)
        self.count = 0
        size = num_features + 1
        self._gram = np.eye(size)
        self._products = np.zeros((size, num_values))
        self._weights: Floats | None = None

    def add(self, points: Floats, values: Floats) -> None:
        """Learn from evaluations.

        Args:
            points: Latents in standard deviations of the prior, shape ``[n, D]``.
            values: Shape ``[n, m]``.
        """
        features = self._features(points).astype(np.float64)
        self._gram += features.T @ features
        self._products += features.T @ values.astype(np.float64)
        self.count += len(points)
        self._weights = None

    def predict(self, points: Floats) -> Floats:
        """Predict the values ``[n, m]`` of points ``[n, D]``; zero before anything was learnt."""
        if self._weights is None:
            solved = cho_solve(cho_factor(self._gram), self._products)
            self._weights = solved.astype(np.float32)
        predicted: Floats = self._features(points) @ self._weights
        return predicted

    def _features(self, points: Floats) -> Floats:
        """Return features ``[n, F + 1]``, the last of which is constant."""
        active = np.maximum(points @ self._directions + self._offsets, 0)
        constant = np.ones((len(points), 1), np.float32)
        return np.concatenate([active, constant], axis=1)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return the normal equations, as tensors that share memory with this object."""
        return {
            "count": self.count,
            "gram": torch.from_numpy(self._gram),
            "products": torch.from_numpy(self._products),
        }

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Continue from what `state_dict` returned, given the same arguments."""
        gram, products = state["gram"], state["products"]
        assert isinstance(gram, Tensor)
        assert isinstance(products, Tensor)
        self.count = int(state["count"])
        self._gram, self._products = gram.numpy().copy(), products.numpy().copy()
        self._weights = None
