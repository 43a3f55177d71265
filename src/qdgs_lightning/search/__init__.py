"""Quality-diversity search over latents, and the archive that it fills."""

from qdgs_lightning.search.config import SearchConfig, SearchError
from qdgs_lightning.search.evaluation import Evaluated, EvaluationError, evaluate

__all__ = ["Evaluated", "EvaluationError", "SearchConfig", "SearchError", "evaluate"]
