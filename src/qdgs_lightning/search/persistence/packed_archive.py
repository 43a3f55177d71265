"""pyribs' grid archive, with the memory that it holds limited to the elites that it holds."""

from collections.abc import Collection
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from ribs.archives import ArrayStore, GridArchive
from ribs.typing import BatchData, Int
from torch import Tensor


class PackedStore(ArrayStore):
    """An `ArrayStore` whose rows lie in the order in which their cells were first filled.

    pyribs keeps the elite of cell i in row i of arrays as long as the grid. Those are allocated
    lazily, but numpy asks the kernel for huge pages, so that each new elite of a face generator
    (28 KB) faults in 2 MB of its own: 4.4 GB for 3,400 elites of 7,168 numbers in two archives of
    156,250 cells. Filling the same arrays from the front touches what is used and no more, with
    whatever page size, and makes the occupied rows one contiguous block to save.

    Args:
        field_desc: Shape and dtype of each field, as `ArrayStore` takes them.
        capacity: Number of cells.
    """

    def __init__(self, field_desc: dict[str, tuple[Any, Any]], capacity: int) -> None:
        super().__init__(field_desc, capacity)
        self._row_of_cell = np.full(capacity, -1, dtype=np.int32)
        self._cell_of_row = np.empty(capacity, dtype=np.int32)

    @property
    def occupied(self) -> NDArray[np.bool_]:
        """Which cells hold an elite, shape ``[capacity]``."""
        return self._row_of_cell >= 0

    @property
    def occupied_list(self) -> NDArray[np.int32]:
        """The cells that hold an elite, in the order of the rows; read-only."""
        cells = self._cell_of_row[: len(self)]
        cells.flags.writeable = False
        return cells

    def rows(self, field: str) -> NDArray[Any]:
        """Return one field of all elites without a copy; "index" is their cells."""
        rows = self._cell_of_row if field == "index" else self._fields[field]
        return rows[: len(self)]

    def retrieve(
        self,
        indices: ArrayLike,
        fields: Collection[str] | str | None = None,
        return_type: Literal["dict", "tuple", "pandas"] | None = None,
    ) -> Any:  # noqa: ANN401 (what pyribs declares takes five overloads)
        """Collect fields of cells, see `ArrayStore.retrieve`."""
        if return_type == "tuple":
            raise NotImplementedError("PackedStore returns dicts, single fields and data frames.")
        cells = np.asarray(indices, dtype=np.int32)
        rows = self._row_of_cell[cells]
        _, found = super().retrieve(np.maximum(rows, 0), fields, return_type)
        data: Any = found
        if isinstance(fields, str) and return_type is None:
            data = cells.copy() if fields == "index" else data
        elif "index" in data:
            data["index"] = cells.copy()
        return rows >= 0, data

    def add(self, indices: ArrayLike, data: dict[str, ArrayLike]) -> None:
        """Write fields of cells, see `ArrayStore.add`; new cells enter in ascending order."""
        cells = np.asarray(indices, dtype=np.int32)
        new = np.unique(cells[self._row_of_cell[cells] < 0])
        end = len(self) + len(new)
        self._cell_of_row[len(self) : end] = new
        self._row_of_cell[new] = np.arange(len(self), end)
        super().add(self._row_of_cell[cells], data)

    def clear(self) -> None:
        """Forget all elites."""
        super().clear()
        self._row_of_cell[:] = -1

    def resize(self, capacity: Int) -> None:
        """Refuse: a grid has as many cells as it was made with."""
        raise NotImplementedError("PackedStore has a fixed number of cells.")

    def state_dict(self) -> dict[str, Tensor]:
        """Return the occupied rows and their cells, as tensors that share memory with the store."""
        return {name: torch.from_numpy(self.rows(name)) for name in ("index", *self._fields)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` returned."""
        self.clear()
        cells = state["index"].numpy()
        self._cell_of_row[: len(cells)] = cells
        self._row_of_cell[cells] = np.arange(len(cells))
        rows: dict[str, ArrayLike] = {name: state[name].numpy() for name in self._fields}
        super().add(np.arange(len(cells)), rows)


class PackedGridArchive(GridArchive):
    """A float32 `GridArchive` on a `PackedStore`.

    Args:
        solution_dim: Coordinates of one latent.
        grid: Cells along each measure.
        ranges: What the grid spans along each measure.
        seed: Seeds the choice of elites.
        learning_rate: Annealing of the thresholds; None keeps the best of each cell.
        threshold_min: What an empty cell demands; only with `learning_rate`.
        floor: What no cell may fall below, whatever its threshold; None for nothing.
    """

    _store: PackedStore

    def __init__(
        self,
        *,
        solution_dim: int,
        grid: tuple[int, ...],
        ranges: tuple[tuple[float, float], ...],
        seed: np.random.SeedSequence,
        learning_rate: float | None = None,
        threshold_min: float = -np.inf,
        floor: float | None = None,
    ) -> None:
        super().__init__(
            solution_dim=solution_dim,
            dims=grid,
            ranges=ranges,
            seed=seed,  # type: ignore[arg-type] # default_rng takes it, the annotation does not
            learning_rate=learning_rate,
            threshold_min=threshold_min,
            dtype=np.float32,
        )
        self._store = PackedStore(self._store.field_desc, capacity=int(np.prod(grid)))

        self._floor = floor

    def add(
        self,
        solution: ArrayLike,
        objective: ArrayLike,
        measures: ArrayLike,
        **fields: ArrayLike,
    ) -> BatchData:
        """Add what is above the floor, see `GridArchive.add`; the rest is told "not added".

        A `threshold_min` would not do: pyribs then sets a cell's threshold to the mean of a batch,
        and a worse latent could replace a better one.
        """
        if self._floor is None:
            return super().add(solution, objective, measures, **fields)
        objective = np.asarray(objective, dtype=np.float32)
        above = objective > self._floor
        added: BatchData = {
            "status": np.zeros(len(objective), dtype=np.int32),
            "value": objective - np.float32(self._floor),
        }
        if above.any():
            columns = (np.asarray(column)[above] for column in (solution, objective, measures))
            for name, values in super().add(*columns).items():
                added[name][above] = values
        return added

    def rows(self, field: str) -> NDArray[Any]:
        """Return one field of all elites without a copy; "index" is their cells."""
        return self._store.rows(field)
