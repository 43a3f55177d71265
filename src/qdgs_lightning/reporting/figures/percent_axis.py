"""Ticks of axes that show shares, written as percentages."""

from matplotlib.ticker import FuncFormatter


def percent_ticks(*, xmax: float = 1.0) -> FuncFormatter:
    """Write ticks in percent with as few digits as each needs, on linear and logarithmic axes.

    `matplotlib.ticker.PercentFormatter` gives all ticks the same number of decimals, so that small
    shares on a logarithmic axis read "0%".

    Args:
        xmax: Value on the axis that is 100 %.

    Example:
        >>> percent_ticks()(0.001, None)
        '0.1%'
    """
    return FuncFormatter(lambda value, position: f"{100 * value / xmax:.6g}%")
