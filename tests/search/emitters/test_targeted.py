"""The targeted emitter against closed forms, and against random search."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from ribs.archives import GridArchive
from ribs.emitters import EmitterBase
from ribs.schedulers import Scheduler

from qdgs_lightning.search.emitters.prior import LatentPrior
from qdgs_lightning.search.emitters.targeted import TargetedEmitter, TargetedEmitterError

Floats = NDArray[np.float32]
Problem = Callable[[Floats], tuple[Floats, Floats, Floats]]


class Samples(EmitterBase):
    """Random search, the baseline."""

    def __init__(self, archive: GridArchive, *, batch_size: int, seed: int) -> None:
        super().__init__(
            archive,
            solution_dim=archive.solution_dim,
            bounds=None,
            lower_bounds=None,
            upper_bounds=None,
        )
        self._rng = np.random.default_rng(seed)
        self._shape = (batch_size, cast(int, archive.solution_dim))

    def ask(self) -> Floats:
        """Draw a batch."""
        return self._rng.standard_normal(self._shape, dtype=np.float32)


def linear_problem(dim: int, k: int, *, seed: int = 0) -> Problem:
    """Measures of unit scale that are linear in the latent; the objective is another such sum."""
    weights = np.random.default_rng(seed).standard_normal((1 + k, dim)).astype(np.float32)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)

    def evaluate(latents: Floats) -> tuple[Floats, Floats, Floats]:
        values = latents @ weights.T
        jacobian = np.broadcast_to(weights, (len(latents), *weights.shape)).copy()
        return values[:, 0], values[:, 1:], jacobian

    return evaluate


def curved_problem(dim: int, k: int) -> Problem:
    """Measures through one hidden layer of sines; gradients in closed form."""
    rng = np.random.default_rng(1)
    inner = (rng.standard_normal((8, dim)) / dim**0.5).astype(np.float32)
    outer = (rng.standard_normal((1 + k, 8)) / 8**0.5).astype(np.float32)

    def evaluate(latents: Floats) -> tuple[Floats, Floats, Floats]:
        hidden = latents @ inner.T
        values = np.sin(hidden) @ outer.T
        jacobian = (outer[None] * np.cos(hidden)[:, None]) @ inner
        return values[:, 0], values[:, 1:], jacobian

    return evaluate


def make_archive(dim: int, k: int, *, cells: int = 10, span: float = 2.0) -> GridArchive:
    return GridArchive(
        solution_dim=dim, dims=[cells] * k, ranges=[(-span, span)] * k, dtype=np.float32, seed=0
    )


def begin(archive: GridArchive, evaluate: Problem, *, n: int, seed: int = 3) -> None:
    """Fill an archive with a prior sample."""
    dim = cast(int, archive.solution_dim)
    latents = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    objective, measures, _ = evaluate(latents)
    archive.add(latents, objective, measures)


def iterate(scheduler: Scheduler, evaluate: Problem, *, gradients: bool = True) -> int:
    """Run one iteration and return its evaluations."""
    spent = 0
    if gradients:
        parents = scheduler.ask_dqd()
        objective, measures, jacobian = evaluate(parents)
        scheduler.tell_dqd(objective, measures, jacobian)
        spent += len(parents)
    children = scheduler.ask()
    objective, measures, _ = evaluate(children)
    scheduler.tell(objective, measures)
    return spent + len(children)


def aimed_children(emitter: TargetedEmitter, children: Floats) -> Floats:
    """Return the rows of a batch that aim at cells: its first ones."""
    assert emitter._flight is not None
    return children[: len(emitter._flight.targets)]


@pytest.mark.parametrize(("dim", "k"), [(6, 1), (6, 2), (16, 3), (300, 4), (1000, 2)])
def test_steps_under_linear_measures_end_in_the_cells_aimed_at(dim: int, k: int) -> None:
    evaluate = linear_problem(dim, k)
    archive = make_archive(dim, k)
    begin(archive, evaluate, n=5)
    emitter = TargetedEmitter(archive, max_norm=10 * dim**0.5, batch_size=30, seed=0)
    emitter._aim.damping = 1e-6
    parents = emitter.ask_dqd()
    objective, measures, jacobian = evaluate(parents)
    emitter.tell_dqd(parents, objective, measures, jacobian, {})

    children = aimed_children(emitter, emitter.ask())

    assert emitter._flight is not None
    reached = archive.index_of(evaluate(children)[1])
    assert len(children) >= 5
    np.testing.assert_array_equal(reached, emitter._flight.targets)


def test_climbing_changes_the_objective_and_no_measure() -> None:
    evaluate = linear_problem(16, 2)
    archive = make_archive(16, 2)
    begin(archive, evaluate, n=20)
    emitter = TargetedEmitter(archive, seed=0)
    parents = emitter.ask_dqd()
    objective, measures, jacobian = evaluate(parents)
    emitter.tell_dqd(parents, objective, measures, jacobian, {})

    rows = np.arange(len(parents))
    drift = emitter._aim._drift(rows, np.random.default_rng(0))
    climbed, moved, _ = evaluate(parents + drift)

    np.testing.assert_allclose(moved, measures, atol=1e-5)
    directions, slopes = emitter._aim.models.ascent(rows)
    steepest, _, _ = evaluate(parents + directions)
    np.testing.assert_allclose(steepest - objective, slopes, rtol=1e-4)
    assert (slopes > 0).all()
    assert (climbed > objective).mean() > 0.5


def test_corrected_models_agree_with_the_step_that_corrected_them() -> None:
    # Broyden's condition: the new gradients explain the last step exactly.
    evaluate = curved_problem(8, 2)
    archive = make_archive(8, 2, span=1.0)
    begin(archive, evaluate, n=20)
    emitter = TargetedEmitter(archive, batch_size=20, seed=0)
    scheduler = Scheduler(archive, [emitter])
    parents = scheduler.ask_dqd()
    objective, measures, jacobian = evaluate(parents)
    scheduler.tell_dqd(objective, measures, jacobian)
    children = scheduler.ask()
    objective, measures, _ = evaluate(children)
    flight, models = emitter._flight, emitter._aim.models
    assert flight is not None
    n = len(flight.targets)
    before = models.positions[flight.models].copy()
    num_parents = models.count
    scheduler.tell(objective, measures)

    kept = [
        int(np.flatnonzero((flight.points == p).all(1))[0])
        for p in models.points[num_parents : models.count]
    ]
    assert 0 < len(kept) <= n
    rows = num_parents + np.arange(len(kept))
    _, back = models.predict(rows, -flight.steps[kept])
    np.testing.assert_allclose(back, before[kept], atol=1e-3)


@pytest.mark.parametrize(("dim", "k"), [(6, 1), (6, 2), (16, 3), (1000, 4)])
def test_no_latent_leaves_the_prior_and_no_step_is_too_long(dim: int, k: int) -> None:
    evaluate = curved_problem(dim, k)
    archive = make_archive(dim, k, cells=6)
    mean, std = np.full(dim, 2.0), np.linspace(0.5, 2, dim)
    max_norm = 1.1 * dim**0.5
    emitter = TargetedEmitter(archive, x0=mean, sigma0=std, max_norm=max_norm, seed=0)
    scheduler = Scheduler(archive, [emitter])
    for _ in range(12):
        parents = scheduler.ask_dqd()
        objective, measures, jacobian = evaluate(parents)
        scheduler.tell_dqd(objective, measures, jacobian)
        children = scheduler.ask()
        if emitter._flight is not None:
            steps = np.linalg.norm(emitter._flight.steps, axis=1)
            # A step, then a climb and noise of the same bound, then a projection that shortens.
            assert steps.max() <= 1.5 * max_norm
            norms = np.linalg.norm((children - mean) / std, axis=1)
            assert norms.max() <= max_norm * (1 + 1e-4)
        objective, measures, _ = evaluate(children)
        scheduler.tell(objective, measures)
    # Of 6 cells, the prior reaches 4 within this bound in one dimension, one of them rarely.
    assert len(archive) >= 3


def test_the_seed_decides_everything() -> None:
    def solutions(seed: int) -> Floats:
        evaluate = curved_problem(12, 2)
        archive = make_archive(12, 2, span=1.0)
        scheduler = Scheduler(archive, [TargetedEmitter(archive, seed=seed)])
        for _ in range(6):
            iterate(scheduler, evaluate)
        found: Floats = archive.data("solution")
        return found

    np.testing.assert_array_equal(solutions(1), solutions(1))
    assert not np.array_equal(solutions(1), solutions(2))


def test_every_iteration_emits_batch_size_latents_once_the_archive_holds_some() -> None:
    evaluate = curved_problem(6, 2)
    archive = make_archive(6, 2, span=1.0)
    begin(archive, evaluate, n=30)
    scheduler = Scheduler(archive, [TargetedEmitter(archive, batch_size=17, seed=0)])

    assert [iterate(scheduler, evaluate) for _ in range(8)] == [17] * 8


def test_shares_follow_the_success_per_cost_of_each_way() -> None:
    archive = make_archive(6, 2)
    begin(archive, linear_problem(6, 2), n=30)
    emitter = TargetedEmitter(archive, batch_size=20, num_parents=2, jacobian_cost=3.0, seed=0)
    emitter.ask_dqd()
    survey = emitter._survey
    assert survey is not None
    emitter._num_jacobians = 2
    rewards, costs = np.ones(5), np.ones(5)
    # Of aims and of four ways of exploration: how many, new cells, and improved ones by how much
    # of the scale, of which no more than the whole counts.
    for counts, new, raised in (
        ((6, 4, 4, 2, 2), (3, 0, 2, 0, 1), (0, 0.5, 0, 2.0, 0)),
        ((8, 2, 3, 3, 2), (1, 1, 0, 3, 0), (0.25, 0, 0, 0, 0)),
    ):
        status, value = [], []
        for number, fresh, gain in zip(counts, new, raised, strict=True):
            improved = int(gain > 0)
            status += [2] * fresh + [1] * improved + [0] * (number - fresh - improved)
            value += [9.0] * fresh + [gain * survey.scale] * improved
            value += [-9.0] * (number - fresh - improved)
        emitter._account(survey, counts, {"status": np.array(status), "value": np.array(value)})
        rewards = 0.95 * rewards + np.array(new) + 0.1 * np.minimum(raised, 1)
        costs = 0.95 * costs + np.array(counts) + np.array([2 * 3.0, 0, 0, 0, 0])
    rates = (rewards / costs) ** 2
    expected = np.maximum(rates / rates.sum(), 0.05)
    np.testing.assert_allclose(emitter.shares, expected / expected.sum(), rtol=1e-5)


def test_what_comes_of_a_batch_is_accounted_for() -> None:
    evaluate = linear_problem(6, 2)
    archive = make_archive(6, 2)
    begin(archive, evaluate, n=30)
    emitter = TargetedEmitter(archive, batch_size=40, num_parents=2, jacobian_cost=3.0, seed=0)
    scheduler = Scheduler(archive, [emitter])
    parents = scheduler.ask_dqd()
    scheduler.tell_dqd(*evaluate(parents))
    children = scheduler.ask()
    objective, measures, _ = evaluate(children)
    before = len(archive)
    surrogate = emitter._exploration.surrogate
    count, sums = surrogate.count, surrogate._products[-1].numpy().copy()
    # No elite is bettered: all that is earned is one for each latent in a new cell.
    scheduler.tell(objective - 1e6, measures)
    # The whole batch is learnt from, in cells: ten from -2 to 2.
    assert surrogate.count == count + len(children)
    learnt = surrogate._products[-1].numpy() - sums
    cells = np.clip((measures + 2) / 4 * 10, 0, 10)
    np.testing.assert_allclose(learnt, [(objective - 1e6).sum(), *cells.sum(axis=0)], rtol=1e-5)
    new = np.isin(archive.data("objective"), (objective - 1e6).astype(np.float32)).sum()
    assert new == len(archive) - before > 0
    spent = len(children) + len(parents) * 3
    assert emitter._costs.sum() == pytest.approx(0.95 * 5 + spent)
    assert emitter._rewards.sum() - 0.95 * 5 >= new


def test_cells_that_nothing_entered_are_noted_as_tried_in_vain() -> None:
    evaluate = linear_problem(6, 2)
    for worse, forgets in ((1e6, False), (0.0, True)):
        archive = make_archive(6, 2)
        begin(archive, evaluate, n=60)
        emitter = TargetedEmitter(archive, batch_size=40, objective_min=None, seed=0)
        scheduler = Scheduler(archive, [emitter])
        parents = scheduler.ask_dqd()
        objective, measures, jacobian = evaluate(parents)
        scheduler.tell_dqd(objective - 1e6, measures, jacobian)
        children = scheduler.ask()
        assert emitter._flight is not None
        assert emitter._expected is not None
        tried = np.bincount(emitter._flight.targets, minlength=100)
        tried += np.bincount(emitter._expected, minlength=100)
        assert len(emitter._expected) > 3
        objective, measures, _ = evaluate(children)
        if not forgets:
            # Into the middle of a cell that is taken, and worse than what is there.
            measures = np.broadcast_to(archive.data("measures")[:1], measures.shape)
        before = set(archive.data("index").tolist())
        scheduler.tell(objective - worse, measures)
        if forgets:
            entered = sorted(set(archive.data("index").tolist()) - before)
            assert entered
            assert (emitter._aim.tries[entered] == 0).all()
            assert emitter._aim.tries.sum() < tried.sum()
        else:
            np.testing.assert_array_equal(emitter._aim.tries, tried)


def test_parents_are_elites_beside_the_cells_wanted_most() -> None:
    evaluate = linear_problem(6, 2)
    archive = make_archive(6, 2, cells=20)
    begin(archive, evaluate, n=400)
    off: list[list[float]] = [[], []]
    for seed in range(40):
        emitter = TargetedEmitter(archive, num_parents=4, batch_size=40, seed=seed)
        parents = emitter.ask_dqd()
        assert emitter._survey is not None
        assert emitter._targets is not None
        at = (evaluate(parents)[1] + 2) * 5
        for which, part in enumerate((slice(0, 4), slice(-4, None))):
            wanted = emitter._survey.centres(emitter._targets[part])
            apart = np.linalg.norm(wanted[:, None] - at[None], axis=2)
            off[which].append(float(apart.min(axis=1).mean()))
    assert np.mean(off[0]) < 0.7 * np.mean(off[1])


@pytest.mark.parametrize(
    ("wanted", "elites", "share"),
    [
        # As far from the one as from the other, which is better by the whole scale of quality.
        (4, {3: 0.0, 5: 1.0}, 1 / (1 + np.exp(2))),
        # Quality counts as much as a cell of distance: one ahead by two cells, behind by one.
        (2, {3: 0.0, 5: 1.0}, 1 / (1 + np.exp(-2))),
        # The cell's own elite has no way to go, and makes up for the quality of its neighbour.
        (3, {3: 0.0, 4: 1.0}, 0.5),
    ],
)
def test_parents_are_chosen_by_nearness_and_quality(
    wanted: int, elites: dict[int, float], share: float
) -> None:
    archive = GridArchive(solution_dim=1, dims=[9], ranges=[(0, 9)], dtype=np.float32, seed=0)
    places = np.array([*elites], np.float32)[:, None] + 0.5
    archive.add(places, np.array([*elites.values()]), places)
    emitter = TargetedEmitter(archive, num_parents=1, batch_size=18, seed=0)
    emitter._aim.tries[np.arange(9) != wanted] = 1e9
    chosen = np.array([emitter.ask_dqd().item() for _ in range(1000)])
    # Noise of Gumbel's distribution with scale one half makes odds of what they differ by.
    assert (chosen == 3.5).mean() == pytest.approx(share, abs=0.05)


def test_models_are_in_standard_deviations_and_cells() -> None:
    evaluate = linear_problem(4, 2)
    archive = GridArchive(
        solution_dim=4, dims=[10, 30], ranges=[(-2, 2), (-3, 3)], dtype=np.float32, seed=0
    )
    begin(archive, evaluate, n=40)
    std = np.array([0.5, 1, 2, 4], np.float32)
    mean = np.array([1, 0, -1, 2], np.float32)
    emitter = TargetedEmitter(archive, x0=mean, sigma0=std, num_parents=3, batch_size=20, seed=0)
    parents = emitter.ask_dqd()
    objective, measures, jacobian = evaluate(parents)
    emitter.tell_dqd(parents, objective, measures, jacobian, {})
    models = emitter._aim.models
    assert models.count == len(parents)
    # A step in standard deviations is the same step of the latent, seen by the archive's cells.
    step = np.random.default_rng(2).normal(0, 0.2, (len(parents), 4)).astype(np.float32)
    there = mean + std * (models.points[: len(parents)] + step)
    reached, places, _ = evaluate(there.astype(np.float32))
    predicted, positions = models.predict(np.arange(len(parents)), step)
    np.testing.assert_allclose(predicted, reached, atol=1e-4)
    in_cells = (places - np.array([-2, -3])) * np.array([10 / 4, 30 / 6])
    np.testing.assert_allclose(positions, in_cells, atol=1e-3)


def test_initial_solutions_open_an_empty_archive() -> None:
    archive = make_archive(6, 2)
    initial = np.arange(18, dtype=np.float32).reshape(3, 6)
    emitter = TargetedEmitter(archive, initial_solutions=initial, seed=0)

    assert emitter.ask_dqd().shape == (0, 6)
    np.testing.assert_array_equal(emitter.ask(), initial)


def test_damping_falls_where_predictions_hold_and_rises_where_they_do_not() -> None:
    def damping_after(evaluate: Problem, believed: Problem) -> float:
        archive = make_archive(8, 2)
        begin(archive, evaluate, n=50)
        emitter = TargetedEmitter(archive, seed=0)
        scheduler = Scheduler(archive, [emitter])
        for _ in range(5):
            parents = scheduler.ask_dqd()
            objective, measures, _ = evaluate(parents)
            scheduler.tell_dqd(objective, measures, believed(parents)[2])
            objective, measures, _ = evaluate(scheduler.ask())
            scheduler.tell(objective, measures)
        return emitter.damping

    truth, other = linear_problem(8, 2), linear_problem(8, 2, seed=9)
    start = TargetedEmitter(make_archive(8, 2), seed=0).damping

    assert damping_after(truth, truth) < start
    assert damping_after(truth, other) > start


def test_the_jacobian_is_left_as_it_was() -> None:
    evaluate = linear_problem(8, 2)
    archive = make_archive(8, 2)
    begin(archive, evaluate, n=10)
    emitter = TargetedEmitter(archive, seed=0)
    parents = emitter.ask_dqd()
    objective, measures, jacobian = evaluate(parents)
    before = jacobian.copy()
    emitter.tell_dqd(parents, objective, measures, jacobian, {})
    emitter.ask()

    np.testing.assert_array_equal(jacobian, before)


@pytest.mark.parametrize(("dim", "k", "cells"), [(6, 2, 40), (100, 3, 14), (500, 2, 40)])
def test_covers_far_more_than_random_search(dim: int, k: int, cells: int) -> None:
    evaluate = curved_problem(dim, k)
    covered = []
    for targeted in (True, False):
        archive = make_archive(dim, k, cells=cells, span=1.5)
        begin(archive, evaluate, n=200)
        emitter = (
            TargetedEmitter(archive, seed=0)
            if targeted
            else Samples(archive, batch_size=36, seed=0)
        )
        scheduler = Scheduler(archive, [emitter])
        spent = 0
        while spent < 3000:
            spent += iterate(scheduler, evaluate, gradients=targeted)
        covered.append(len(archive))

    assert covered[0] > 1.4 * covered[1]


def test_raises_the_objective_of_cells_that_random_search_also_fills() -> None:
    evaluate = curved_problem(100, 2)
    found = []
    for targeted in (True, False):
        archive = make_archive(100, 2, cells=20, span=1.5)
        begin(archive, evaluate, n=200)
        emitter = (
            TargetedEmitter(archive, seed=0)
            if targeted
            else Samples(archive, batch_size=36, seed=0)
        )
        scheduler = Scheduler(archive, [emitter])
        for _ in range(80):
            iterate(scheduler, evaluate, gradients=targeted)
        elites = archive.data(["index", "objective"], return_type="dict")
        found.append(dict(zip(elites["index"].tolist(), elites["objective"].tolist(), strict=True)))
    both = found[0].keys() & found[1].keys()

    assert len(both) > 50
    ours, random = (np.array([best[cell] for cell in both]) for best in found)
    assert ours.mean() > random.mean() + 0.5 * random.std()


def test_a_floor_keeps_aims_from_ending_below_it() -> None:
    evaluate = linear_problem(30, 2)
    expected = []
    for floor in (None, 1.0):
        archive = make_archive(30, 2, cells=20)
        begin(archive, evaluate, n=300)
        emitter = TargetedEmitter(archive, num_parents=18, objective_min=floor, seed=0)
        parents = emitter.ask_dqd()
        objective, measures, jacobian = evaluate(parents)
        emitter.tell_dqd(parents, objective, measures, jacobian, {})
        children = aimed_children(emitter, emitter.ask())
        expected.append((evaluate(children)[0] > 1.0).mean())

    assert expected[1] > expected[0] + 0.2


def test_prior_of_a_sample_has_its_mean_spread_and_radius() -> None:
    rng = np.random.default_rng(0)
    sample = (3 + 2 * rng.standard_normal((4000, 9))).astype(np.float32)
    sample[:, 8] = 7.0
    prior = LatentPrior.of(sample, quantile=0.99)

    np.testing.assert_allclose(prior.mean[:8], 3, atol=0.2)
    np.testing.assert_allclose(prior.std[:8], 2, atol=0.1)
    assert prior.std[8] == 1
    # 99 % of a chi-square variable with 8 degrees of freedom lie below 20.09.
    assert prior.max_norm == pytest.approx(20.09**0.5, rel=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 1}, "num_parents < batch_size"),
        ({"max_norm": 0.0}, "positive max_norm"),
        ({"x0": np.zeros(3)}, "give 6 numbers"),
        ({"sigma0": 0.0}, "above 0"),
    ],
)
def test_refuses_what_it_cannot_work_with(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(TargetedEmitterError, match=message):
        TargetedEmitter(make_archive(6, 2), **arguments)  # type: ignore[arg-type]


def test_refuses_latents_that_are_not_flat() -> None:
    archive = GridArchive(solution_dim=(2, 3), dims=[4], ranges=[(0, 1)])
    with pytest.raises(TargetedEmitterError, match="flatten"):
        TargetedEmitter(archive)
