"""What is read off an archive, and what is not taken for one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ribs.archives import GridArchive

from qdgs_lightning.search import Archive, ArchiveError, ArchiveMetadata
from qdgs_lightning.search.persistence.tree_file import write_tree

METADATA = ArchiveMetadata(
    guidance={"prompts": ["a", "b"]},
    measure_names=("red", "green", "blue"),
    generator="Toy-0",
    latent_shape=(2, 3),
    grid=(4, 3, 2),
    ranges=((0.0, 1.0), (-1.0, 1.0), (0.25, 0.75)),
    algorithm="random",
    seed=7,
    evaluations=100,
    versions={"torch": "2"},
)


def make_archive(n: int, seed: int = 0) -> tuple[Archive, GridArchive]:
    """Make an archive of the elites of n solutions, and pyribs' own of the same."""
    rng = np.random.default_rng(seed)
    oracle = GridArchive(
        solution_dim=6, dims=METADATA.grid, ranges=METADATA.ranges, dtype=np.float32
    )
    solutions, objective = rng.normal(size=(n, 6)), rng.normal(size=n)
    if n:
        oracle.add(solutions, objective, rng.uniform(-1, 1, size=(n, 3)))
    held = oracle.data()
    archive = Archive(
        latents=torch.from_numpy(held["solution"]).reshape(-1, 2, 3),
        objective=torch.from_numpy(held["objective"]),
        measures=torch.from_numpy(held["measures"]),
        cell=torch.from_numpy(held["index"]),
        metadata=METADATA,
    )
    return archive, oracle


@given(n=st.integers(0, 40), seed=st.integers(0, 1000))
def test_stats_and_heatmaps_are_those_of_pyribs(n: int, seed: int) -> None:
    archive, oracle = make_archive(n, seed)
    ours, theirs = archive.stats, oracle.stats
    assert len(archive) == ours.num_elites == theirs.num_elites
    assert ours.coverage == pytest.approx(float(theirs.coverage))
    assert ours.qd_score == pytest.approx(float(theirs.qd_score), abs=1e-4)
    assert ours.norm_qd_score == pytest.approx(float(theirs.norm_qd_score), abs=1e-5)
    if n:
        assert theirs.obj_max is not None
        assert ours.obj_max == float(theirs.obj_max)
        assert ours.obj_mean == pytest.approx(ours.qd_score / len(archive))
    else:
        assert np.isnan([ours.obj_max, ours.obj_mean]).all()
    index = oracle.int_to_grid_index(oracle.data("index"))
    np.testing.assert_array_equal(archive.grid_index.numpy(), index.reshape(-1, 3))
    expected = np.full((3, 4), np.nan)
    for (x, y, _), objective in zip(index, oracle.data("objective"), strict=True):
        expected[y, x] = np.fmax(expected[y, x], objective)
    np.testing.assert_array_equal(archive.heatmap(x=0, y=1).numpy(), expected)


def test_a_saved_archive_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    archive, _ = make_archive(20)
    archive.save(tmp_path / "a.safetensors")
    back = Archive.load(str(tmp_path / "a.safetensors"))
    assert back.metadata == METADATA
    for name in ("latents", "objective", "measures", "cell"):
        assert torch.equal(getattr(back, name), getattr(archive, name))
        assert getattr(back, name).dtype == getattr(archive, name).dtype


def test_ends_of_measures_are_kept_and_missing_in_older_files(tmp_path: Path) -> None:
    path, ends = tmp_path / "a.safetensors", (("A red one.", "A grey one."), None, None)
    archive = replace(make_archive(5)[0], metadata=replace(METADATA, measure_ends=ends))
    archive.save(path)
    assert Archive.load(path).metadata.measure_ends == ends
    tree = archive.to_tree()
    del tree["metadata"]["measure_ends"]
    write_tree(path, tree)
    assert Archive.load(path).metadata == METADATA
    assert METADATA.measure_ends == (None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"latents": torch.zeros(20, 6)},
        {"objective": torch.zeros(20)},
        {"measures": torch.zeros(3, 2)},
        {"cell": torch.full((1,), 24)},
        {"metadata": replace(METADATA, grid=(4, 3))},
    ],
)
def test_elites_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    archive, _ = make_archive(1)
    with pytest.raises(ArchiveError, match="do not fit"):
        replace(archive, **change)


def test_files_without_elites_or_metadata_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tree = make_archive(5)[0].to_tree()
    del tree["metadata"]["seed"]
    write_tree(path, tree)
    with pytest.raises(ArchiveError, match="lacks 'seed'"):
        Archive.load(path)
    write_tree(path, {"elites": {}})
    with pytest.raises(ArchiveError, match="lacks 'metadata'"):
        Archive.load(path)
