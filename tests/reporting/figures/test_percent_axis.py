"""Ticks have the digits that they need, which matplotlib's own do not."""

import pytest

from qdgs_lightning.reporting.figures.percent_axis import percent_ticks


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (1, "100%"), (1e-5, "0.001%"), (0.925, "92.5%"), (0.3, "30%")]
)
def test_shares_are_written_in_percent(share: float, text: str) -> None:
    assert percent_ticks()(share, 0) == text
    assert percent_ticks(xmax=100)(100 * share, 0) == text
