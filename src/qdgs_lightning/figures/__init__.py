"""Figures: each function returns a matplotlib Figure and touches no global state."""

from qdgs_lightning.figures.archive_heatmap import archive_heatmap
from qdgs_lightning.figures.confusion import confusion_matrices
from qdgs_lightning.figures.elite_grid import elite_grid
from qdgs_lightning.figures.group_bars import group_bars
from qdgs_lightning.figures.measure_density import measure_density
from qdgs_lightning.figures.roc import roc_figure

__all__ = [
    "archive_heatmap",
    "confusion_matrices",
    "elite_grid",
    "group_bars",
    "measure_density",
    "roc_figure",
]
