"""Which elites the grids of a run show."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from qdgs_lightning.callbacks.archive_figures import _best_per_tile, _tiles, log_archive_figures
from qdgs_lightning.guidance import Evaluation, LatentAxes
from qdgs_lightning.reporting.figures import archive_heatmap
from qdgs_lightning.search import Archive, QDSearch, SearchConfig
from tests.patches import PatchGenerator, PatchGuidance


def _archive(grid: tuple[int, int]) -> Archive:
    config = SearchConfig(grid=grid, algorithm="random", calibration=100)
    search = QDSearch(PatchGenerator(), PatchGuidance(), config)
    search.run(400)
    return search.archive


@pytest.mark.parametrize(("grid", "tiles"), [((6, 5), (6, 5)), ((30, 4), (10, 4))])
def test_the_best_elite_of_each_tile_is_shown(
    grid: tuple[int, int], tiles: tuple[int, int]
) -> None:
    archive = _archive(grid)
    assert _tiles(archive, 0, 1) == tiles
    rows = _best_per_tile(archive, 0, 1)
    # A grid of fewer cells than tiles would leave tiles empty for good.
    places = [
        tuple(index * tile // cells for index, tile, cells in zip(row, tiles, grid, strict=True))
        for row in archive.grid_index.tolist()
    ]
    best: dict[tuple[int, ...], float] = {}
    for place, objective in zip(places, archive.objective.tolist(), strict=True):
        best[place] = max(objective, best.get(place, -float("inf")))
    assert sorted(archive.objective[rows].tolist()) == sorted(best.values())
    assert {places[row] for row in rows.tolist()} == set(best)


class _ThreeGuidance(PatchGuidance):
    """Measures the left half, too."""

    measure_names = ("brightness", "slope", "left half")  # type: ignore[assignment]

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Read three measures off the images."""
        objective, measures = super().forward(images, latents)
        return Evaluation(objective, torch.cat([measures, images[:, 0, 0, :1]], dim=1))


@pytest.mark.parametrize(
    ("guidance", "pairs"),
    [
        (LatentAxes(PatchGuidance(), axes=2), [""]),
        (
            LatentAxes(_ThreeGuidance(), axes=1),
            ["_brightness_slope", "_brightness_left half", "_slope_left half"],
        ),
    ],
    ids=["two", "three"],
)
def test_pairs_of_measures_that_images_show_have_their_figures(
    tmp_path: Path, guidance: LatentAxes, pairs: list[str]
) -> None:
    grid = (3,) * len(guidance.measure_names)
    config = SearchConfig(grid=grid, algorithm="random", calibration=100)
    search = QDSearch(PatchGenerator(), guidance, config)
    search.run(150)
    trainer = Trainer(
        accelerator="cpu",
        logger=CSVLogger(tmp_path, name="run", version="0"),
        enable_checkpointing=False,
    )
    log_archive_figures(trainer, PatchGenerator(), search.archive, step=7, batch_size=4)
    assert {path.name for path in (tmp_path / "run" / "0" / "figures").iterdir()} == {
        f"qd-{kind}{pair}_step0000007.png"
        for kind in ("archive_heatmap", "elite_grid")
        for pair in pairs
    }


class _EndsGuidance(PatchGuidance):
    """Knows words for one of its measures."""

    def measure_ends(self) -> tuple[tuple[str, str] | None, ...]:
        """Return them."""
        return (("A dim patch.", "A bright patch."), None)


def test_an_archive_knows_what_the_guidance_says_of_its_measures() -> None:
    config = SearchConfig(grid=(4, 4), algorithm="random", calibration=50)
    search = QDSearch(PatchGenerator(), _EndsGuidance(), config)
    search.run(100)
    assert search.archive.metadata.measure_ends == (("A dim patch.", "A bright patch."), None)
    axes = archive_heatmap(search.archive).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("← dim    brightness    bright →", "slope")
