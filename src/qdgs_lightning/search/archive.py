"""The elites that a search has found, as they are saved and handed on."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qdgs_lightning.search.persistence.tree_file import ArchiveError, read_tree, write_tree


@dataclass(frozen=True, kw_only=True)
class ArchiveMetadata:
    """Where elites come from, in JSON types.

    Attributes:
        guidance: What the guidance says of itself: prompts and models.
        measure_names: A short name per measure.
        generator: The generator's fingerprint.
        latent_shape: Shape of one latent.
        grid: Cells along each measure.
        ranges: What the grid spans along each measure; beyond lies in the edge cells.
        algorithm: Name of the search algorithm.
        seed: Seed of the search.
        evaluations: How many latents were evaluated to find the elites.
        versions: Versions of the packages that decide what is found.
        prior_span: The 1 % and the 99 % quantile of each measure of the prior sample that opened
            the search; None in archives of earlier versions.
        measure_ends: For each measure in words what low and what high values stand for, or None;
            all None in files of versions that did not keep it.
    """

    guidance: dict[str, Any]
    measure_names: tuple[str, ...]
    generator: str
    latent_shape: tuple[int, ...]
    grid: tuple[int, ...]
    ranges: tuple[tuple[float, float], ...]
    algorithm: str
    seed: int
    evaluations: int
    versions: dict[str, str]
    prior_span: tuple[tuple[float, float], ...] | None = None
    measure_ends: tuple[tuple[str, str] | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.measure_ends:
            object.__setattr__(self, "measure_ends", (None,) * len(self.measure_names))


@dataclass(frozen=True, kw_only=True)
class ArchiveStats:
    """What quality-diversity search is measured by.

    Attributes:
        num_elites: Cells that hold an elite.
        coverage: Their share of all cells, in [0, 1].
        qd_score: Sum of the elites' objectives.
        norm_qd_score: QD-score per cell of the grid, empty ones included.
        obj_max: Highest objective; NaN where there is no elite.
        obj_mean: Mean objective; NaN where there is no elite.
    """

    num_elites: int
    coverage: float
    qd_score: float
    norm_qd_score: float
    obj_max: float
    obj_mean: float

    @classmethod
    def of(cls, objective: Tensor, *, grid: tuple[int, ...]) -> "ArchiveStats":
        """Sum up elites.

        Args:
            objective: The objective of each elite, shape ``[n]``.
            grid: Cells along each measure.
        """
        cells = torch.Size(grid).numel()
        score = float(objective.sum(dtype=torch.float64))
        nan = float("nan")
        return cls(
            num_elites=len(objective),
            coverage=len(objective) / cells,
            qd_score=score,
            norm_qd_score=score / cells,
            obj_max=float(objective.max()) if len(objective) else nan,
            obj_mean=score / len(objective) if len(objective) else nan,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Archive:
    """The elites that a search has found: the best latent of every cell that it reached.

    Attributes:
        latents: Shape ``[n, *latent_shape]``, float32.
        objective: Shape ``[n]``, float32.
        measures: Shape ``[n, k]``, float32.
        cell: Index of each elite's cell in the flattened (row-major) grid; shape ``[n]``, int32.
        metadata: Where the elites come from.

    Raises:
        ArchiveError: The shapes do not fit each other and the metadata.

    Example:
        >>> archive = Archive.load("runs/shapes_search/archive.safetensors")
        >>> best = archive.latents[archive.objective.argmax()]
    """

    latents: Tensor
    objective: Tensor
    measures: Tensor
    cell: Tensor
    metadata: ArchiveMetadata

    def __post_init__(self) -> None:
        n, cells = len(self.objective), torch.Size(self.metadata.grid).numel()
        shapes = (self.latents.shape, self.objective.shape, self.measures.shape, self.cell.shape)
        expected = ((n, *self.metadata.latent_shape), (n,), (n, len(self.metadata.grid)), (n,))
        if shapes != expected or (n and not 0 <= self.cell.min() <= self.cell.max() < cells):
            raise ArchiveError(
                f"Elites of shapes {[tuple(shape) for shape in shapes]} do not fit their metadata, "
                f"which asks for {list(expected)} and cells below {cells}; bring another file."
            )

    def __len__(self) -> int:
        return len(self.objective)

    @property
    def stats(self) -> ArchiveStats:
        """Coverage, QD-score and the like."""
        return ArchiveStats.of(self.objective, grid=self.metadata.grid)

    @property
    def grid_index(self) -> Tensor:
        """The cell of each elite along each measure, shape ``[n, k]``, int64."""
        indices = torch.unravel_index(self.cell.long(), self.metadata.grid)
        return torch.stack(indices, dim=1)

    def heatmap(self, *, x: int = 0, y: int = 1) -> Tensor:
        """Return the best objective per cell of two measures, over all others.

        Args:
            x: Which measure the columns are.
            y: Which measure the rows are.

        Returns:
            Shape ``[grid[y], grid[x]]``, float32; NaN where no elite is.
        """
        columns, rows = self.metadata.grid[x], self.metadata.grid[y]
        flat = self.grid_index[:, y] * columns + self.grid_index[:, x]
        best = torch.full((rows * columns,), float("nan"))
        best.scatter_reduce_(0, flat, self.objective, reduce="amax", include_self=False)
        return best.reshape(rows, columns)

    def save(self, path: str | Path) -> None:
        """Write the elites to one safetensors file, whole or not at all.

        Args:
            path: The file; its folder is made if need be.

        Raises:
            ArchiveError: The file cannot be written.
        """
        write_tree(Path(path), self.to_tree())

    @classmethod
    def load(cls, path: str | Path) -> "Archive":
        """Read elites from a file, be it from `save` or from a search that can be continued.

        Args:
            path: The file.

        Raises:
            ArchiveError: There is no such file, or it is truncated or of another kind.
        """
        tree = read_tree(Path(path), "elites", "metadata")
        try:
            stored = {"measure_ends": [], "prior_span": None, **tree["metadata"]}
            metadata = {field.name: stored[field.name] for field in fields(ArchiveMetadata)}
            for name in ("measure_names", "latent_shape", "grid"):
                metadata[name] = tuple(metadata[name])
            metadata["measure_ends"] = tuple(
                ends and tuple(ends) for ends in stored["measure_ends"]
            )
            for name in ("ranges", "prior_span"):
                if metadata[name] is not None:
                    metadata[name] = tuple((low, high) for low, high in metadata[name])
            return cls(**tree["elites"], metadata=ArchiveMetadata(**metadata))
        except (KeyError, TypeError) as error:
            raise ArchiveError(
                f"{path} lacks {error} of what this package keeps of elites; bring another copy, "
                "or the version of this package that wrote it."
            ) from error

    def to_tree(self) -> dict[str, Any]:
        """Return the elites and their metadata as a tree of tensors and JSON types."""
        names = ("latents", "objective", "measures", "cell")
        elites = {name: getattr(self, name).contiguous() for name in names}
        return {"elites": elites, "metadata": asdict(self.metadata)}
