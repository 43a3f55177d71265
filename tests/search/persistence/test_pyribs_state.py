"""Capturing and restoring values exactly, or not at all."""

import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ribs.emitters.opt import AdamOpt, CMAEvolutionStrategy

from qdgs_lightning.search.emitters.local_models import LocalModels
from qdgs_lightning.search.persistence.pyribs_state import capture, copied, restore

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    plain,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def through_a_file(state: Any) -> Any:  # noqa: ANN401
    """Save and load as Lightning does with checkpoints."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@given(trees)
def test_plain_values_come_back_as_they_were(value: object) -> None:
    state = capture(value)
    assert restore(None, json.loads(json.dumps(state))) == value
    assert repr(restore(None, state)) == repr(value)  # tells 1 from 1.0 and True


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.1),
        np.float64(0.1),
        np.int32(-3),
        np.bool_(True),
        np.array(0.1, dtype=np.float32),
        np.arange(6).reshape(2, 3),
        np.zeros((0, 4), dtype=np.float32),
        np.array([np.nan, -0.0, np.inf], dtype=np.float32),
    ],
)
def test_numpy_values_keep_type_shape_and_bits(value: Any) -> None:  # noqa: ANN401
    back = restore(None, through_a_file(capture(value)))
    assert type(back) is type(value)
    assert (back.dtype, back.shape) == (value.dtype, value.shape)
    assert back.tobytes() == value.tobytes()


def test_random_generators_continue() -> None:
    numpy_rng, torch_rng = np.random.default_rng(5), torch.Generator().manual_seed(5)
    numpy_rng.integers(10)  # leaves half of a 64-bit draw behind, which is part of the state
    states = json.loads(json.dumps(capture(numpy_rng))), through_a_file(capture(torch_rng))
    expected = numpy_rng.integers(1000, size=9), torch.rand(9, generator=torch_rng)
    numpy_again, torch_again = np.random.default_rng(), torch.Generator()
    restore(numpy_again, states[0])
    restore(torch_again, states[1])
    assert np.array_equal(numpy_again.integers(1000, size=9), expected[0])
    assert torch.equal(torch.rand(9, generator=torch_again), expected[1])


def test_objects_of_pyribs_continue_in_place() -> None:
    optimizer = AdamOpt(np.ones(4, dtype=np.float32), lr=0.1)
    optimizer.step(np.arange(4.0))
    again = AdamOpt(np.zeros(4, dtype=np.float32), lr=0.1)
    assert restore(again, through_a_file(capture(optimizer))) is again
    for each in (optimizer, again):
        each.step(np.ones(4))
    assert np.array_equal(again.theta, optimizer.theta)


@pytest.mark.parametrize("value", [{1, 2}, object(), lambda: None, {1: "a"}, 1 + 2j, json])
def test_what_cannot_be_kept_exactly_is_refused(value: object) -> None:
    for holder in (value, [value], {"a": (value,)}):
        with pytest.raises(TypeError, match="No exact state is known"):
            capture(holder)


def test_a_state_of_another_class_is_refused() -> None:
    state = capture(AdamOpt(np.zeros(3, dtype=np.float32), lr=0.1))
    with pytest.raises(TypeError, match="CMAEvolutionStrategy"):
        restore(CMAEvolutionStrategy(sigma0=1.0, solution_dim=3), state)
    with pytest.raises(TypeError, match="another class"):
        restore(np.random.default_rng(), capture(torch.Generator()))


@pytest.mark.parametrize("module", ["qdgs_lightning.search.local_models", "qdgs_lightning"])
def test_states_of_our_classes_are_known_wherever_their_module_was(module: str) -> None:
    filled, empty = (LocalModels(capacity=2, dim=3, num_measures=1) for _ in range(2))
    filled.points[0] = 1
    state = capture(filled)
    restore(empty, {**state, "$object": f"{module}.LocalModels"})
    assert empty.points.tolist() == filled.points.tolist()
    with pytest.raises(TypeError, match="does not fit"):
        restore(empty, {**state, "$object": f"{module}.OtherModels"})


def test_copies_share_nothing_and_hold_no_more_than_they_show() -> None:
    whole = torch.arange(1000.0)
    state = {"rows": whole[:3], "list": [whole[5:6]], "name": "x"}
    copy = copied(state)
    whole.zero_()
    assert copy["rows"].tolist() == [0, 1, 2]
    assert copy["list"][0].tolist() == [5]
    assert copy["rows"].untyped_storage().nbytes() == 12
