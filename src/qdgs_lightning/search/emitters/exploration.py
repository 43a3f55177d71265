"""Latents for cells that no gradient points to: many made, the most promising evaluated."""

from collections.abc import Callable

import numpy as np

from qdgs_lightning.search.emitters.archive_snapshot import Cells, CellSurvey, Floats
from qdgs_lightning.search.emitters.planner import floor_penalty, shortened
from qdgs_lightning.search.emitters.surrogate import Surrogate

# Ways to make a latent.
LINE, LEAP, BLEND, FRESH = WAYS = range(4)

# Leaps and blends that are made for one that is evaluated.
_CANDIDATES = 16
# Samples of the prior that are drawn for one that is evaluated, and those that wait meanwhile.
_RENEWAL = 6
_WAITING = 8192
# All candidates together have at most so many numbers: a bound on time and memory where latents
# have thousands of dimensions.
_NUMBERS = 2**21
# In standard deviations of the prior, and in distances between two elites.
_LINE_SIGMAS = (0.05, 0.2)
_LEAP_SIGMAS = (0.1, 0.5)
# Smallest and largest weight of the prior in a blend.
_BLEND_RANGE = (0.05, 1.0)
# Randomness of choices, as noise on the logarithm of what they promise.
_GUMBEL = 0.3

Draw = Callable[[int], Floats]
"""Draws n latents from the prior, in standard deviations, shape ``[n, D]``."""
Elites = Callable[[Cells], Floats]
"""Looks up latents of rows of a survey, in standard deviations."""


class Exploration:
    """Makes latents without gradients, and lets a surrogate choose among them.

    Lines between two elites are evaluated as they come. Leaps, which are longer lines, and blends
    of elites with the prior start evenly from all regions of the measure space, whatever number of
    elites each holds. Fresh samples come from the prior as they are: some thousand wait, and some
    join whenever some leave. Of all but the lines those are taken that the surrogate expects in
    empty or weak cells, in regions that hold few elites, and where little was tried in vain.

    Args:
        surrogate: What is known of objective and positions.
        max_norm: Largest length of a latent.
        improvement: Worth of raising an elite over the whole scale of quality.
        objective_min: What the archive demands of any elite; None for nothing.
    """

    def __init__(
        self,
        *,
        surrogate: Surrogate,
        max_norm: float,
        improvement: float,
        objective_min: float | None,
    ) -> None:
        self.surrogate = surrogate
        self._max_norm = max_norm
        self._improvement = improvement
        self._objective_min = objective_min
        self._waiting = np.empty((0, surrogate.dim), np.float32)

    def begin(self, survey: CellSurvey, elites: Elites) -> None:
        """Learn from what others have put into the archive, such as a search's first sample; once.

        Args:
            survey: The archive.
            elites: Looks up latents of rows of the survey, in standard deviations.
        """
        if self.surrogate.count == 0:
            points = elites(np.arange(len(survey)))
            self.learn(survey, points, survey.objective, survey.positions)

    def learn(self, survey: CellSurvey, points: Floats, objective: Floats, at: Floats) -> None:
        """Tell the surrogate what latents turned out to be.

        Args:
            survey: The archive.
            points: Shape ``[n, D]``, in standard deviations of the prior.
            objective: Shape ``[n]``.
            at: Positions in cells, shape ``[n, k]``; beyond the grid they count as at its edge.
        """
        within = np.clip(at, 0, np.asarray(survey.grid, np.float32))
        self.surrogate.add(points, np.column_stack([objective, within]))

    def fresh(
        self, survey: CellSurvey, n: int, *, draw: Draw, tries: Floats, rng: np.random.Generator
    ) -> tuple[Floats, Cells]:
        """Take n samples of the prior.

        Args:
            survey: The archive.
            n: How many.
            draw: Samples the prior.
            tries: How often each cell of the grid was tried in vain.
            rng: Source of the randomness.

        Returns:
            The latents ``[n, D]``, and the cells ``[n]`` that they are expected in.
        """
        points = np.concatenate([self._waiting, shortened(draw(_RENEWAL * n), self._max_norm)])
        chosen, cells = self._screen(survey, points, n, tries, rng)
        left = np.ones(len(points), bool)
        left[chosen] = False
        self._waiting = points[left][-min(_WAITING, max(n, _NUMBERS // points.shape[1])) :]
        return points[chosen], cells

    def lines(
        self, survey: CellSurvey, n: int, *, elites: Elites, rng: np.random.Generator
    ) -> Floats:
        """Move n elites along lines to others, with a little noise (Vassiliades and Mouret 2018).

        The one way that does not ask the surrogate: what that errs about is found all the same.

        Args:
            survey: The archive.
            n: How many.
            elites: Looks up latents.
            rng: Source of the randomness.

        Returns:
            The latents ``[n, D]``.
        """
        parents, others = (elites(rng.integers(len(survey), size=n)) for _ in range(2))
        return shortened(_along_lines(parents, others, _LINE_SIGMAS, rng), self._max_norm)

    def varied(
        self,
        survey: CellSurvey,
        n: int,
        way: int,
        *,
        elites: Elites,
        draw: Draw,
        tries: Floats,
        rng: np.random.Generator,
    ) -> tuple[Floats, Cells]:
        """Make n latents of elites, by `LEAP` or by `BLEND`; see `fresh`.

        Args:
            survey: The archive.
            n: How many.
            way: Which way.
            elites: Looks up latents.
            draw: Samples the prior.
            tries: How often each cell of the grid was tried in vain.
            rng: Source of the randomness.
        """
        size = n * max(1, min(_CANDIDATES, _NUMBERS // (n * self.surrogate.dim)))
        parents = elites(survey.spread_rows(size, rng))
        if way == LEAP:
            others = elites(rng.integers(len(survey), size=size))
            points = _along_lines(parents, others, _LEAP_SIGMAS, rng)
        else:
            low, high = np.log(_BLEND_RANGE)
            share = np.exp(rng.uniform(low, high, (size, 1))).astype(np.float32)
            # A sample may cost a network: a few serve all blends.
            others = draw(n)[rng.integers(n, size=size)]
            points = np.sqrt(1 - share**2) * parents + share * others
        points = shortened(points, self._max_norm)
        chosen, cells = self._screen(survey, points, n, tries, rng)
        return points[chosen], cells

    def _screen(
        self, survey: CellSurvey, points: Floats, n: int, tries: Floats, rng: np.random.Generator
    ) -> tuple[Cells, Cells]:
        """Return the rows of the n points that promise most, and the cells expected of them."""
        predicted = self.surrogate.predict(points)
        cells = survey.cells_at(predicted[:, 1:])
        chosen = most_promising(
            survey,
            predicted[:, 0],
            cells,
            n,
            tries=tries,
            improvement=self._improvement,
            objective_min=self._objective_min,
            rng=rng,
        )
        return chosen, cells[chosen]


def _along_lines(
    parents: Floats, others: Floats, sigmas: tuple[float, float], rng: np.random.Generator
) -> Floats:
    """Move parents along lines to others, with noise; both of normal length."""
    iso, line = sigmas
    noise = rng.standard_normal(parents.shape, dtype=np.float32)
    along = rng.standard_normal((len(parents), 1), dtype=np.float32)
    return parents + iso * noise + line * along * (others - parents)


def most_promising(
    survey: CellSurvey,
    objective: Floats,
    cells: Cells,
    n: int,
    *,
    tries: Floats,
    improvement: float,
    objective_min: float | None,
    rng: np.random.Generator,
) -> Cells:
    """Choose among latents by what is expected of them.

    Empty cells promise most, then cells that would gain; the less, the more elites the region
    around holds, and the more often the cell was tried in vain.

    Args:
        survey: The archive.
        objective: Expected of each candidate, shape ``[c]``.
        cells: Where each is expected, shape ``[c]``.
        n: How many to choose.
        tries: How often each cell of the grid was tried in vain.
        improvement: Worth of raising an elite over the whole scale of quality.
        objective_min: What the archive demands of any elite; None for nothing.
        rng: Source of the randomness.

    Returns:
        Rows of the chosen candidates, the best first, shape ``[min(n, c)]``.
    """
    quality = survey.rate(objective)
    present = survey.cell_quality[cells]
    gain = np.clip(quality - np.where(np.isinf(present), 0, present), 1e-4, 1)
    promise = np.log(np.where(np.isinf(present), 1, improvement * gain))
    promise -= floor_penalty(survey, quality, objective_min)
    promise += _GUMBEL * rng.gumbel(size=len(cells))
    regions = survey.region_of(cells)
    held, missed = survey.region_sizes[regions], tries[cells]
    # Better ones of the same cell or region come first and leave less to gain for the others.
    order = np.argsort(-(promise - np.log1p(held) - np.log1p(missed)))
    held = held + _earlier(regions, order)
    missed = missed + _earlier(cells, order)
    chosen: Cells = np.argsort(-(promise - np.log1p(held) - np.log1p(missed)))[:n]
    return chosen


def _earlier(values: Cells, order: Cells) -> Floats:
    """Count for each entry how many equal ones come before it in an order."""
    ranked = values[order]
    grouped = np.argsort(ranked, kind="stable")
    _, starts, sizes = np.unique(ranked[grouped], return_index=True, return_counts=True)
    counts = np.empty(len(values), np.float32)
    counts[order[grouped]] = np.arange(len(values)) - np.repeat(starts, sizes)
    return counts
