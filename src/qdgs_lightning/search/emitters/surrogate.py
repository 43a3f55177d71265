"""A cheap model of objective and measures over the whole latent space."""

import numpy as np
import torch
from numpy.typing import NDArray
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
        self.count = 0
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((dim, num_features), dtype=np.float32)
        self._directions = torch.from_numpy(directions / np.linalg.norm(directions, axis=0))
        self._offsets = torch.from_numpy(rng.standard_normal(num_features, dtype=np.float32))
        # torch and not numpy, whose BLAS keeps threads of its own beside those of torch.
        self._gram = torch.eye(num_features + 1, dtype=torch.float64)
        self._products = torch.zeros(num_features + 1, num_values, dtype=torch.float64)
        self._weights: Tensor | None = None

    def add(self, points: Floats, values: Floats) -> None:
        """Learn from evaluations.

        Args:
            points: Latents in standard deviations of the prior, shape ``[n, D]``.
            values: Shape ``[n, m]``.
        """
        features = self._features(points).double()
        self._gram.addmm_(features.T, features)
        self._products.addmm_(features.T, torch.from_numpy(values).double())
        self.count += len(points)
        self._weights = None

    def predict(self, points: Floats) -> Floats:
        """Predict the values ``[n, m]`` of points ``[n, D]``; zero before anything was learnt."""
        if self._weights is None:
            factor = torch.linalg.cholesky(self._gram)
            self._weights = torch.cholesky_solve(self._products, factor).float()
        predicted: Floats = (self._features(points) @ self._weights).numpy()
        return predicted

    def _features(self, points: Floats) -> Tensor:
        """Return features ``[n, F + 1]``, the last of which is constant."""
        features = torch.addmm(self._offsets, torch.from_numpy(points), self._directions).relu_()
        return torch.nn.functional.pad(features, (0, 1), value=1.0)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return the normal equations, as tensors that share memory with this object."""
        return {"count": self.count, "gram": self._gram, "products": self._products}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Continue from what `state_dict` returned, given the same arguments."""
        gram, products = state["gram"], state["products"]
        assert isinstance(gram, Tensor)
        assert isinstance(products, Tensor)
        self.count = int(state["count"])
        self._gram, self._products = gram.clone(), products.clone()
        self._weights = None
