"""What a search refuses, in a sentence."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from qdgs_lightning.guidance import Evaluation, PromptGuidance
from qdgs_lightning.guidance.clip import SHAPES_CLIP, create_clip
from qdgs_lightning.search import (
    ArchiveError,
    EvaluationError,
    QDSearch,
    SearchConfig,
    SearchError,
)
from qdgs_lightning.search.persistence.tree_file import read_tree, write_tree
from tests.search.searches import CONFIGS, begin
from tests.toys import BrokenGenerator, ToyGenerator, ToyGuidance


class FlatGuidance(ToyGuidance):
    """Finds every image equally good."""

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge by the measures alone."""
        objective, measures = super().forward(images, latents)
        return Evaluation(0 * objective + 50, measures)


def test_grid_and_measures_must_agree() -> None:
    with pytest.raises(SearchError, match=r"for 2 measures, but the guidance measures 3"):
        QDSearch(ToyGenerator(), ToyGuidance(3), SearchConfig(grid=(5, 5)))


def test_nan_ends_a_search_by_naming_the_generator() -> None:
    with pytest.raises(EvaluationError, match="BrokenGenerator"):
        QDSearch(BrokenGenerator(), ToyGuidance(), CONFIGS["random"]).run(40)


def test_a_threshold_that_nothing_reaches_is_named() -> None:
    config = SearchConfig(grid=(5, 5), algorithm="cma_mae", threshold_min=1000.0, calibration=20)
    with (
        pytest.warns(UserWarning, match="threshold_min"),
        pytest.raises(SearchError, match=r"reached search.threshold_min \(1000.0\)"),
    ):
        QDSearch(ToyGenerator(), FlatGuidance(), config).run(5000)


def test_a_floor_that_nothing_reaches_is_named() -> None:
    config = SearchConfig(grid=(12, 10), calibration=40, objective_min=1000.0)
    search = QDSearch(ToyGenerator((2, 3)), ToyGuidance(), config)
    for _ in range(2):  # what failed left nothing behind that a second try would go on with
        with pytest.raises(SearchError, match=r"None of 40 prior samples .* lower it"):
            search.run(1000)


def test_memory_for_fewer_rows_at_once_does_not_end_a_search() -> None:
    config = CONFIGS["map_elites"]
    smaller = SearchConfig(**(vars(config) | {"evaluation_batch_size": 3}))
    other = QDSearch(ToyGenerator((2, 3)), ToyGuidance(), smaller)
    other.load_state_dict(begin(config, iterations=2).state_dict())
    assert other.evaluations == begin(config, iterations=2).evaluations


def test_only_the_same_search_is_continued(tmp_path: Path) -> None:
    config, path = CONFIGS["map_elites"], tmp_path / "a.safetensors"
    begin(config, iterations=2).save(path)
    before = path.read_bytes()
    shape = (2, 3)
    same, other = ToyGenerator(shape), ToyGenerator(shape, seed=1)
    grid = SearchConfig(**(vars(config) | {"grid": (12, 11)}))
    for search, complaint in (
        (QDSearch(other, ToyGuidance(), config), "begun with the generator ToyGenerator-"),
        (QDSearch(same, ToyGuidance(prompt="other"), config), "begun with the guidance .*a toy"),
        (QDSearch(same, ToyGuidance(), grid), r"begun with search.grid=\[12, 10\], not \[12, 11\]"),
    ):
        with pytest.raises(SearchError, match=f"{complaint}.*a.safetensors"):
            search.load(path)
    path.write_bytes(before[:-5])
    with pytest.raises(ArchiveError, match="not a whole archive file"):
        begin(config).load(path)


def test_clip_is_the_same_by_its_weights_and_not_by_its_path(tmp_path: Path) -> None:
    config, saved = CONFIGS["random"], tmp_path / "a.safetensors"
    here, there = tmp_path / "here.pt", tmp_path / "there.pt"
    torch.save(create_clip(SHAPES_CLIP, None).state_dict(), here)

    def search(path: Path) -> QDSearch:
        return QDSearch(ToyGenerator(), PromptGuidance(pretrained=str(path)), config)

    begun = search(here)
    begun.run(40)
    begun.save(saved)
    here.rename(there)
    torch.save(create_clip(SHAPES_CLIP, None).state_dict(), here)
    moved = search(there)
    moved.load(saved)
    assert moved.evaluations == 40
    with pytest.raises(
        SearchError, match=r"begun with the guidance {'weights': '\w{16}'}, not {'w"
    ):
        search(here).load(saved)


def test_a_search_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    state = begin(CONFIGS["random"], iterations=1).state_dict()
    del state["origin"]["latent_shape"]
    with pytest.raises(SearchError, match="begun with another version of this package; go on"):
        begin(CONFIGS["random"]).load_state_dict(state)


def test_files_without_a_search_of_this_version_are_told_apart(tmp_path: Path) -> None:
    config = CONFIGS["targeted"]
    search = QDSearch(ToyGenerator(), ToyGuidance(), config)
    search.run(120)
    search.archive.save(tmp_path / "elites.safetensors")
    with pytest.raises(ArchiveError, match="holds elites alone and no search to go on with"):
        QDSearch(ToyGenerator(), ToyGuidance(), config).load(tmp_path / "elites.safetensors")
    search.save(tmp_path / "whole.safetensors")
    tree = read_tree(tmp_path / "whole.safetensors", "elites", "metadata", "search")
    emitter = tree["search"]["scheduler"]["emitters"][0]
    for holder, name in (
        (tree["search"], "memory"),
        (emitter["attributes"], next(iter(emitter["attributes"]))),
    ):
        taken = holder.pop(name)
        write_tree(tmp_path / "older.safetensors", tree)
        with pytest.raises(ArchiveError, match=rf"another state .*{name}.*'ribs': '"):
            QDSearch(ToyGenerator(), ToyGuidance(), config).load(tmp_path / "older.safetensors")
        holder[name] = taken
    write_tree(tmp_path / "again.safetensors", tree)
    QDSearch(ToyGenerator(), ToyGuidance(), config).load(tmp_path / "again.safetensors")
