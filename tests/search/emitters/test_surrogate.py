"""The surrogate against scikit-learn, and against functions that it ought to learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from qdgs_lightning.search.emitters.surrogate import Floats, Surrogate


def _bent(points: Floats) -> Floats:
    """Two functions with kinks, as measures have between attributes."""
    along = points[:, 0] + 0.5 * points[:, 1]
    return np.stack([np.abs(along), np.tanh(3 * points[:, 2])], axis=1).astype(np.float32)


def _sample(n: int, dim: int = 6, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def test_it_is_ridge_regression_on_its_features() -> None:
    points, held_out = _sample(300), _sample(50, seed=1)
    surrogate = Surrogate(dim=6, num_values=2, num_features=40, seed=3)
    for part in np.array_split(points, 7):
        surrogate.add(part, _bent(part))
    # The constant is a feature like others here, so that the oracle must not add its own.
    oracle = Ridge(alpha=1.0, fit_intercept=False)
    oracle.fit(surrogate._features(points).numpy(), _bent(points))
    expected = oracle.predict(surrogate._features(held_out).numpy())
    np.testing.assert_allclose(surrogate.predict(held_out), expected, atol=2e-3)
    assert surrogate.count == 300


def test_features_are_ramps_of_slope_one_along_random_directions() -> None:
    surrogate = Surrogate(dim=5, num_values=1, num_features=300, seed=0)
    directions = surrogate._directions.numpy()
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1, rtol=1e-5)
    assert np.abs(directions.mean(axis=1)).max() < 0.15
    points = _sample(20, 5)
    expected = np.maximum(points @ directions + surrogate._offsets.numpy(), 0)
    found = surrogate._features(points).numpy()
    np.testing.assert_allclose(found[:, :-1], expected, atol=1e-5)
    assert (found[:, -1] == 1).all()


def test_it_learns_what_bends() -> None:
    surrogate = Surrogate(dim=6, num_values=2, seed=0)
    points, held_out = _sample(4000), _sample(1000, seed=1)
    assert (surrogate.predict(held_out) == 0).all()
    surrogate.add(points, _bent(points))
    truth = _bent(held_out)
    error = ((surrogate.predict(held_out) - truth) ** 2).mean(axis=0)
    assert (error < 0.1 * truth.var(axis=0)).all()


@pytest.mark.parametrize("dim", [1, 500])
def test_any_number_of_coordinates_will_do(dim: int) -> None:
    surrogate = Surrogate(dim=dim, num_values=1, num_features=64, seed=0)
    points = _sample(2000, dim)
    surrogate.add(points, points[:, :1])
    correlation = np.corrcoef(surrogate.predict(points)[:, 0], points[:, 0])[0, 1]
    assert correlation > (0.99 if dim == 1 else 0.2)


def test_it_continues_from_its_state_bit_for_bit() -> None:
    points = _sample(200)
    whole, again = (Surrogate(dim=6, num_values=2, num_features=32, seed=5) for _ in range(2))
    whole.add(points[:120], _bent(points[:120]))
    again.load_state_dict(whole.state_dict())
    for surrogate in (whole, again):
        surrogate.add(points[120:], _bent(points[120:]))
    np.testing.assert_array_equal(whole.predict(points), again.predict(points))
    other = Surrogate(dim=6, num_values=2, num_features=32, seed=6)
    other.add(points, _bent(points))
    assert not np.array_equal(whole.predict(points), other.predict(points))
