"""Quality-diversity search over latents, and the archive that it fills."""

from qdgs_lightning.search.archive import Archive, ArchiveMetadata, ArchiveStats
from qdgs_lightning.search.config import SearchConfig, SearchError
from qdgs_lightning.search.coverage import CellCount, Coverage
from qdgs_lightning.search.evaluation import Evaluated, EvaluationError, evaluate
from qdgs_lightning.search.persistence.tree_file import ArchiveError
from qdgs_lightning.search.progress import search_progress
from qdgs_lightning.search.qd_search import QDSearch

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveMetadata",
    "ArchiveStats",
    "CellCount",
    "Coverage",
    "Evaluated",
    "EvaluationError",
    "QDSearch",
    "SearchConfig",
    "SearchError",
    "evaluate",
    "search_progress",
]
