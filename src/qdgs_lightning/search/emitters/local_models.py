"""A bounded memory of local linear models: what the objective and measures do near a latent."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_TINY = np.float32(1e-9)
# Relative to the mean eigenvalue of J J^T: small enough for projections to be exact in float32,
# large enough for measures whose gradients are parallel.
_JITTER = 1e-6


class Reach(NamedTuple):
    """What steps from R models to T targets would take; steps are combinations of gradients.

    Attributes:
        step_weights: Coefficients of the measures' gradients, shape ``[R, T, k]``.
        length: Length of the step, shape ``[R, T]``.
        miss: How far from the target the step is expected to end, in cells, shape ``[R, T]``.
        objective: What is expected of the objective there, shape ``[R, T]``.
    """

    step_weights: Floats
    length: Floats
    miss: Floats
    objective: Floats


class LocalModels:
    """First-order models ``y(z + d) = y(z) + G d`` of objective and measures, the newest kept.

    A model comes from a Jacobian, or from another model by the step that was taken from it
    (Broyden 1965): ``G + (y_reached - y_predicted) d^T / (d^T d)``, which costs no gradient.

    Args:
        capacity: How many models to keep; new ones replace the oldest.
        dim: Coordinates of a latent.
        num_measures: Measures k, positions on the grid in units of cells.
    """

    def __init__(self, *, capacity: int, dim: int, num_measures: int) -> None:
        self.capacity = capacity
        self.count = 0
        self._cursor = 0
        self.points = np.zeros((capacity, dim), np.float32)
        self.positions = np.zeros((capacity, num_measures), np.float32)
        self.objectives = np.zeros(capacity, np.float32)
        self.gradients = np.zeros((capacity, 1 + num_measures, dim), np.float32)
        self.uses = np.zeros(capacity, np.float32)
        # Cells of error per squared length of a step.
        self.curvature = np.zeros(capacity, np.float32)
        self._gram = np.zeros((capacity, num_measures, num_measures))
        self._slope = np.zeros((capacity, num_measures))
        self._steepness = np.zeros(capacity)

    def add(
        self,
        points: Floats,
        objectives: Floats,
        positions: Floats,
        gradients: Floats,
        curvature: Floats,
    ) -> None:
        """Keep models, n of them in each array; of more than `capacity` the last ones."""
        rows = (self._cursor + np.arange(len(points))) % self.capacity
        self._cursor = (self._cursor + len(points)) % self.capacity
        self.count = min(self.capacity, self.count + len(points))
        self.points[rows] = points
        self.objectives[rows] = objectives
        self.positions[rows] = positions
        self.gradients[rows] = gradients
        self.curvature[rows] = curvature
        self.uses[rows] = 0
        of_objective, of_measures = gradients[:, 0], gradients[:, 1:]
        self._gram[rows] = of_measures @ of_measures.transpose(0, 2, 1)
        self._slope[rows] = _apply(of_measures, of_objective)
        self._steepness[rows] = (of_objective**2).sum(axis=1)

    def reach(self, targets: Floats, damping: float) -> Reach:
        """Plan damped least-squares steps (Levenberg 1944) from every model to every target.

        Args:
            targets: Positions, shape ``[T, k]``.
            damping: Lambda, relative to the mean eigenvalue of ``J J^T``.
        """
        gram = self._gram[: self.count].astype(np.float32)
        solver = self._inverse_gram(np.arange(self.count), damping)
        offsets: Floats = targets[None] - self.positions[: self.count, None]
        weights: Floats = offsets @ solver
        moved: Floats = weights @ gram
        squared: Floats = np.maximum((moved * weights).sum(axis=-1), 0).astype(np.float32)
        left = offsets - moved
        curvature = self.curvature[: self.count, None]
        miss = np.sqrt((left * left).sum(axis=-1)) + curvature * squared
        slope = self._slope[: self.count, :, None].astype(np.float32)
        gain: Floats = (weights @ slope)[..., 0]
        return Reach(weights, np.sqrt(squared), miss, self.objectives[: self.count, None] + gain)

    def steps(self, rows: NDArray[np.intp], offsets: Floats, damping: float) -> Floats:
        """Return the steps ``J^T (J J^T + lambda I)^-1 offset``, shape ``[n, D]``."""
        weights: Floats = offsets[:, None] @ self._inverse_gram(rows, damping)
        steps: Floats = (weights @ self.gradients[rows, 1:])[:, 0]
        return steps

    def without_measures(self, rows: NDArray[np.intp], directions: Floats) -> Floats:
        """Project ``[n, D]`` directions onto the null space of the models' measures."""
        changes = _apply(self.gradients[rows, 1:], directions)
        return directions - self.steps(rows, changes, _JITTER)

    def ascent(self, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return unit steps that raise the objective and no measure, and its slope along them."""
        directions = self.without_measures(rows, self.gradients[rows, 0])
        slopes = np.sqrt((directions**2).sum(axis=1))
        return directions / np.maximum(slopes, _TINY)[:, None], slopes

    def ascent_slopes(self) -> Floats:
        """Return how fast the objective rises along the null space of each model, shape ``[R]``."""
        rows = np.arange(self.count)
        slope = self._slope[rows]
        lost = (slope[:, None] @ self._inverse_gram(rows, _JITTER) @ slope[:, :, None])[:, 0, 0]
        slopes: Floats = np.sqrt(np.maximum(self._steepness[rows] - lost, 0)).astype(np.float32)
        return slopes

    def predict(self, rows: NDArray[np.intp], steps: Floats) -> tuple[Floats, Floats]:
        """Return objectives ``[n]`` and positions ``[n, k]`` after steps from models."""
        changes = _apply(self.gradients[rows], steps)
        return self.objectives[rows] + changes[:, 0], self.positions[rows] + changes[:, 1:]

    def corrected(self, rows: NDArray[np.intp], steps: Floats, errors: Floats) -> Floats:
        """Return gradients after Broyden's update, shape ``[n, 1 + k, D]``.

        Args:
            rows: Models that steps were taken from.
            steps: The steps, shape ``[n, D]``.
            errors: Reached minus predicted objective and position, shape ``[n, 1 + k]``.
        """
        squared = np.maximum((steps**2).sum(axis=1), _TINY)
        changes = (errors / squared[:, None])[:, :, None] * steps[:, None]
        gradients: Floats = self.gradients[rows] + changes
        return gradients

    def _inverse_gram(self, rows: NDArray[np.intp], damping: float) -> Floats:
        """Return ``(J J^T + lambda I)^-1`` of models, shape ``[n, k, k]``."""
        gram = self._gram[rows]
        k = gram.shape[-1]
        scale = np.trace(gram, axis1=1, axis2=2) / k + 1e-12
        inverse: Floats = np.linalg.inv(gram + (damping * scale)[:, None, None] * np.eye(k)).astype(
            np.float32
        )
        return inverse


def _apply(matrices: Floats, vectors: Floats) -> Floats:
    """Multiply ``[n, r, D]`` matrices by ``[n, D]`` vectors, row by row."""
    products: Floats = (matrices @ vectors[:, :, None])[..., 0]
    return products
