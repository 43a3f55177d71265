"""Figures: each function returns a matplotlib Figure and touches no global state."""

from qdgs_lightning.reporting.figures.archive_heatmap import archive_heatmap
from qdgs_lightning.reporting.figures.confusion import confusion_matrices
from qdgs_lightning.reporting.figures.elite_grid import elite_grid
from qdgs_lightning.reporting.figures.fairness_curve import fairness_curve
from qdgs_lightning.reporting.figures.group_bars import group_bars
from qdgs_lightning.reporting.figures.identity_sheet import identity_sheet
from qdgs_lightning.reporting.figures.image_sheet import image_sheet
from qdgs_lightning.reporting.figures.measure_density import measure_density
from qdgs_lightning.reporting.figures.roc import roc_figure

__all__ = [
    "archive_heatmap",
    "confusion_matrices",
    "elite_grid",
    "fairness_curve",
    "group_bars",
    "identity_sheet",
    "image_sheet",
    "measure_density",
    "roc_figure",
]
