"""Search settings and what a prior sample makes of those left open."""

import math
from typing import Any

import pytest
import torch

from qdgs_lightning.search import Evaluated, SearchConfig, SearchError
from qdgs_lightning.search.calibration import calibrate


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"algorithm": "cma-es"}, "none of targeted, screened, cma_maega"),
        ({"grid": ()}, "positive number per measure"),
        ({"grid": (5, 0)}, "positive number per measure"),
        ({"emitters": 0}, "search.emitters is 0"),
        ({"batch_size": 1}, "search.batch_size is 1"),
        ({"calibration": 0}, "search.calibration is 0"),
        ({"seed": -1}, "search.seed is -1"),
        ({"evaluation_batch_size": 0}, "search.evaluation_batch_size is 0"),
        ({"sigma": 0.0}, "search.sigma is 0.0"),
        ({"step_size": math.nan}, "search.step_size is nan"),
        ({"archive_learning_rate": 1.5}, "search.archive_learning_rate is 1.5"),
        ({"ranges": ((0.0, 1.0),)}, "1 ranges and search.grid 2"),
        ({"ranges": ((0.0, 1.0), (1.0, 1.0))}, r"holds \(1.0, 1.0\)"),
        ({"ranges": ((0.0, 1.0), (0.0, math.inf))}, r"holds \(0.0, inf\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SearchError, match=complaint):
        SearchConfig(**settings)


def test_published_settings_are_those_of_the_publication() -> None:
    config = SearchConfig.published(grid=(50, 50), seed=4)
    assert (config.algorithm, config.emitters, config.iteration_size) == ("cma_maega", 1, 4)
    assert (config.sigma, config.step_size, config.archive_learning_rate) == (0.5, 0.5, 0.02)
    assert (config.threshold_min, config.ranges) == (0.0, ((-0.1, 0.1), (-0.1, 0.1)))
    assert (config.calibration, config.seed) == (512, 4)


def sample_of(measures: torch.Tensor) -> Evaluated:
    objective = torch.arange(float(len(measures)))
    return Evaluated(objective=objective, measures=measures, jacobian=None)


def test_ranges_span_the_prior_with_a_margin_and_without_its_outliers() -> None:
    even = torch.linspace(0, 1, 101)
    outliers = even.clone()
    outliers[-1] = 1000.0
    sample = sample_of(torch.stack([even, outliers], dim=1))
    ranges, threshold_min, span = calibrate(SearchConfig(), sample, names=("even", "wild"))
    # Quantiles .01 and .99 are .01 and .99; a quarter of .98 is added on either side.
    for low, high in ranges:
        assert (low, high) == pytest.approx((-0.235, 1.235))
    assert threshold_min == pytest.approx(5.0)
    assert span is not None
    for low, high in span:
        assert (low, high) == pytest.approx((0.01, 0.99))


def test_what_is_given_stays() -> None:
    config = SearchConfig(ranges=((0.0, 1.0), (-2.0, 3.0)), threshold_min=12.5)
    result = calibrate(config, sample_of(torch.zeros(9, 2)), names=("a", "b"))
    assert result == (((0.0, 1.0), (-2.0, 3.0)), 12.5, ((0.0, 0.0), (0.0, 0.0)))


def test_ranges_that_no_sample_falls_into_are_named() -> None:
    measures = torch.stack([torch.linspace(0, 1, 50), torch.linspace(4, 5, 50)], dim=1)
    config = SearchConfig(ranges=((0.9, 2.0), (5.5, 6.0)))
    with pytest.raises(SearchError, match=r"None of 50 .* 'far', 5\.5 to 6: they span 4 to 5; set"):
        calibrate(config, sample_of(measures), names=("near", "far"))


def test_a_measure_that_never_varies_is_named() -> None:
    measures = torch.stack([torch.linspace(0, 1, 50), torch.full((50,), 0.3)], dim=1)
    with pytest.raises(SearchError, match=r"Measure 'still' is 0\.3 on nearly all of 50"):
        calibrate(SearchConfig(), sample_of(measures), names=("moving", "still"))
