"""Pictures of an archive for the loggers of a run."""

from functools import partial
from itertools import combinations

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.reporting.figures import archive_heatmap, elite_grid
from qdgs_lightning.reporting.loggers import log_figure
from qdgs_lightning.search import Archive
from qdgs_lightning.search.evaluation import draw_images
from qdgs_lightning.search.processes import first_alone

_TILES = 10


def log_archive_figures(
    trainer: Trainer, generator: Generator, archive: Archive, *, step: int, batch_size: int
) -> None:
    """Log a heatmap and a grid of elites for every pair of measures that an image can show.

    Collective: the first process works while the others wait, never longer than for one figure or
    one forward pass. All of them come to the same calls, since their archives are the same.

    Args:
        trainer: The trainer whose loggers are meant.
        generator: Draws the elites; prepared.
        archive: The archive, the same on every process.
        step: The optimiser step that it belongs to.
        batch_size: Images per forward pass.

    Raises:
        OSError: The figures cannot be written; on the first process.
        ProcessError: Something has gone wrong on another process.
    """
    of_latents = archive.metadata.guidance.get("latent_axes", 0)
    names = archive.metadata.measure_names[: len(archive.metadata.measure_names) - of_latents]
    for x, y in combinations(range(len(names)), 2):
        where = "" if len(names) == 2 else f"_{names[x]}_{names[y]}"
        best = _best_per_tile(archive, x, y)
        first_alone(partial(_log_heatmap, trainer, archive, (x, y), where=where, step=step))
        images: list[Tensor] = []
        for start in range(0, len(best), batch_size):
            latents = archive.latents[best[start : start + batch_size]]
            first_alone(partial(_draw, generator, latents, images))
        first_alone(partial(_log_grid, trainer, archive, (x, y), best, images, where, step))


def _log_heatmap(
    trainer: Trainer, archive: Archive, pair: tuple[int, int], *, where: str, step: int
) -> None:
    """Log one heatmap."""
    figure = archive_heatmap(archive, measures=pair)
    log_figure(trainer, f"qd/archive_heatmap{where}", figure, step=step)


def _draw(generator: Generator, latents: Tensor, images: list[Tensor]) -> None:
    """Add images to a list."""
    images.append(draw_images(generator, latents))


def _log_grid(
    trainer: Trainer,
    archive: Archive,
    pair: tuple[int, int],
    rows: Tensor,
    images: list[Tensor],
    where: str,
    step: int,
) -> None:
    """Log one grid of elites."""
    metadata = archive.metadata
    x, y = pair
    figure = elite_grid(
        torch.cat(images),
        archive.measures[rows][:, [x, y]],
        names=(metadata.measure_names[x], metadata.measure_names[y]),
        ranges=(metadata.ranges[x], metadata.ranges[y]),
        shape=_tiles(archive, x, y),
        ends=(metadata.measure_ends[x], metadata.measure_ends[y]),
    )
    log_figure(trainer, f"qd/elite_grid{where}", figure, step=step)


def _tiles(archive: Archive, x: int, y: int) -> tuple[int, int]:
    """Say how many tiles there are along two measures: ten, or as many as the archive has cells."""
    grid = archive.metadata.grid
    return min(_TILES, grid[x]), min(_TILES, grid[y])


def _best_per_tile(archive: Archive, x: int, y: int) -> Tensor:
    """Choose the elite of the highest objective in each tile over two measures."""
    grid = torch.tensor(archive.metadata.grid)[[x, y]]
    shape = torch.tensor(_tiles(archive, x, y))
    tiles = archive.grid_index[:, [x, y]] * shape // grid
    order = archive.objective.argsort(descending=True)
    flat = (tiles[:, 0] * shape[1] + tiles[:, 1])[order].tolist()
    first = {tile: row for row, tile in reversed(list(enumerate(flat)))}
    return order[torch.tensor(sorted(first.values()))]
