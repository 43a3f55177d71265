"""A search holds what pyribs says it should, and continues bit for bit."""

import io
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ribs.archives import GridArchive
from torch import Tensor

from qdgs_lightning.guidance import Evaluation, LatentAxes, PromptGuidance
from qdgs_lightning.search import (
    QDSearch,
    SearchConfig,
    SearchError,
)
from qdgs_lightning.search.config import Algorithm
from qdgs_lightning.search.emitters.factory import ANNEALED_ALGORITHMS, Seeds
from tests.search.searches import CONFIGS, begin
from tests.toys import ToyGenerator, ToyGuidance

every_algorithm = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


class RecordingGuidance(ToyGuidance):
    """Keeps everything that was judged."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Evaluation]] = []

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge, and take a note."""
        evaluation = super().forward(images, latents)
        self.seen.append((latents.detach(), Evaluation(*(part.detach() for part in evaluation))))
        return evaluation


class RememberingGuidance(RecordingGuidance):
    """Remembers images, each of which lowers what is judged later by a thousandth."""

    remembers = True
    remember_above = 99.0

    def __init__(self) -> None:
        super().__init__()
        self.remembered = torch.empty(0, 3, 2, 2)
        self.told: list[tuple[int, Tensor]] = []

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge by what is remembered."""
        objective, measures = super().forward(images, latents)
        return Evaluation(objective - len(self.remembered) * 1e-3, measures)

    def remember(self, images: Tensor) -> None:
        """Remember, and note when that was."""
        assert not images.requires_grad
        self.remembered = torch.cat([self.remembered, images])
        self.told.append((len(self.seen), images))

    def memory_state(self) -> dict[str, Tensor]:
        """Return the images."""
        return {"images": self.remembered} if len(self.remembered) else {}

    def load_memory_state(self, state: dict[str, Tensor]) -> None:
        """Take images back."""
        self.remembered = state.get("images", torch.empty(0, 3, 2, 2))


def begin_uniquely(
    algorithm: Algorithm = "cma_maega", *, weight: float = 0.2, iterations: int = 0
) -> QDSearch:
    """A search by prompts that remembers, and has forgotten some, after a few iterations."""
    config = SearchConfig(
        grid=(12, 10, 4),
        algorithm=algorithm,
        emitters=2,
        batch_size=5,
        calibration=30,
        evaluation_batch_size=4,
        seed=1,
    )
    guidance = LatentAxes(PromptGuidance(uniqueness_weight=weight, memory_size=7), axes=1)
    search = QDSearch(ToyGenerator((2, 3)), guidance, config)
    if iterations:
        search.run(config.calibration + iterations * config.iteration_size)
    return search


def bits(search: QDSearch, folder: Path) -> bytes:
    """All that a search knows: elites, metadata and state, as they are saved."""
    search.save(folder / "bits.safetensors")
    return (folder / "bits.safetensors").read_bytes()


@every_algorithm
def test_elites_are_those_pyribs_keeps_of_all_that_was_evaluated(config: SearchConfig) -> None:
    guidance = RecordingGuidance()
    search = QDSearch(ToyGenerator((2, 3)), guidance, config)
    spent = search.run(config.calibration + 15 * config.iteration_size)
    archive = search.archive
    latents = torch.cat([latents for latents, _ in guidance.seen])
    objective = torch.cat([evaluation.objective for _, evaluation in guidance.seen])
    measures = torch.cat([evaluation.measures for _, evaluation in guidance.seen])
    assert spent == search.evaluations == archive.metadata.evaluations == len(latents)
    oracle = GridArchive(
        solution_dim=6, dims=config.grid, ranges=archive.metadata.ranges, dtype=np.float32
    )
    allowed = objective > (-torch.inf if config.objective_min is None else config.objective_min)
    oracle.add(latents.flatten(1)[allowed], objective[allowed], measures[allowed])
    held = oracle.data()
    ours, theirs = np.argsort(archive.cell.numpy()), np.argsort(held["index"])
    np.testing.assert_array_equal(archive.cell.numpy()[ours], held["index"][theirs])
    np.testing.assert_array_equal(archive.objective.numpy()[ours], held["objective"][theirs])
    np.testing.assert_array_equal(archive.measures.numpy()[ours], held["measures"][theirs])
    solutions = archive.latents.flatten(1).numpy()[ours]
    np.testing.assert_array_equal(solutions, held["solution"][theirs])
    assert search.stats == archive.stats
    assert archive.stats.num_elites == oracle.stats.num_elites


@pytest.mark.parametrize("algorithm", ANNEALED_ALGORITHMS)
def test_annealed_archives_too_hold_nothing_below_the_floor(algorithm: Algorithm) -> None:
    kept = []
    for floor in (None, 99.2):
        config = replace(CONFIGS[algorithm], objective_min=floor)
        annealed, _ = begin(config, iterations=15).state_dict()["scheduler"]["archives"]
        kept.append(annealed["attributes"]["_store"]["state"]["objective"])
    assert kept[0].min() < 99.2 < kept[1].min()
    assert len(kept[1]) > 10


@every_algorithm
def test_a_restored_search_continues_bit_for_bit(config: SearchConfig, tmp_path: Path) -> None:
    whole = begin(config, iterations=24)
    first = begin(config, iterations=11)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    by_state, by_file = begin(config), begin(config)
    by_state.load_state_dict(torch.load(file, weights_only=True))
    first.save(tmp_path / "a.safetensors")
    by_file.load(tmp_path / "a.safetensors")
    expected = bits(whole, tmp_path)
    for search in (first, by_state, by_file):
        assert search.run(13 * config.iteration_size) == 13 * config.iteration_size
        assert bits(search, tmp_path) == expected
    other = begin(SearchConfig(**(vars(config) | {"seed": 9})), iterations=24)
    assert not torch.equal(other.archive.latents, whole.archive.latents)


@pytest.mark.parametrize("algorithm", ["cma_maega", "map_elites"])
def test_a_restored_search_remembers_bit_for_bit(algorithm: Algorithm, tmp_path: Path) -> None:
    whole = begin_uniquely(algorithm, iterations=10)
    expected = bits(whole, tmp_path)
    first = begin_uniquely(algorithm, iterations=4)
    state = first.state_dict()
    first.save(tmp_path / "a.safetensors")
    by_state, by_file = begin_uniquely(algorithm), begin_uniquely(algorithm)
    by_state.load_state_dict(state)
    by_file.load(tmp_path / "a.safetensors")
    for search in (by_state, by_file, first):
        search.run(6 * search.config.iteration_size)
        assert bits(search, tmp_path) == expected
    (embeddings,) = whole.state_dict()["memory"]["guidance"].values()
    assert len(embeddings) == 7
    assert not torch.equal(embeddings, state["memory"]["guidance"]["embeddings"])


def test_uniqueness_changes_what_is_found() -> None:
    without = begin_uniquely(weight=0.0, iterations=4)
    assert not torch.equal(
        begin_uniquely(iterations=4).archive.objective, without.archive.objective
    )
    assert without.state_dict()["memory"]["guidance"] == {}


@every_algorithm
def test_one_good_image_of_each_batch_is_remembered(config: SearchConfig) -> None:
    # All of a batch is judged at once, so that one call of the guidance is one batch.
    config = SearchConfig(**(vars(config) | {"evaluation_batch_size": 10_000}))
    generator, guidance = ToyGenerator((2, 3)), RememberingGuidance()
    QDSearch(generator, guidance, config).run(config.calibration + 5 * config.iteration_size)
    told = dict(guidance.told)
    assert len(told) == len(guidance.told)  # never two of one batch
    others = 0
    for batch, (latents, evaluation) in enumerate(guidance.seen, start=1):
        forgotten = sum(1 for earlier in told if earlier < batch) * 1e-3
        good = evaluation.objective - forgotten > guidance.remember_above
        assert (batch in told) == bool(good.any())
        if batch in told:
            distances = (generator(latents) - told[batch]).abs().amax(dim=(1, 2, 3))
            assert float(distances[good].min()) < 1e-6
            others += int(distances[good].argmin()) > 0
    assert len(told) > 1
    assert others > 0


def test_searches_that_share_guidance_do_not_share_a_memory(tmp_path: Path) -> None:
    config, generator = CONFIGS["map_elites"], ToyGenerator((2, 3))
    shared = RememberingGuidance()
    first, second = (QDSearch(generator, shared, config) for _ in range(2))
    alone = QDSearch(generator, RememberingGuidance(), config)
    for search in (first, second, first, second, alone, alone):
        search.run(100)
        assert shared.memory_state() == {}
    assert len(first.state_dict()["memory"]["guidance"]["images"]) > 3
    assert bits(first, tmp_path) == bits(second, tmp_path) == bits(alone, tmp_path)


def test_a_start_that_failed_leaves_no_memory() -> None:
    generator = ToyGenerator((2, 3))
    torch.nn.init.zeros_(generator.weight)
    search = QDSearch(generator, RememberingGuidance(), SearchConfig(grid=(5, 5), calibration=40))
    draws = []
    for _ in range(2):
        with pytest.raises(SearchError, match="measure something that varies"):
            search.run(40)
        memory = search.state_dict()["memory"]
        assert len(memory["guidance"]["images"]) == 1
        draws.append(memory["random"])
    assert draws[0] == draws[1]


def test_remembering_has_randomness_of_its_own() -> None:
    config = CONFIGS["cma_maega"]
    *before, last = np.random.SeedSequence(config.seed).spawn(4 + config.emitters + 1)
    seeds = Seeds.of(config)
    assert [seed.spawn_key for seed in (*seeds[:4], *seeds.emitters)] == [
        seed.spawn_key for seed in before
    ]
    assert seeds.memory.spawn_key == last.spawn_key


def test_a_search_that_has_not_begun_has_a_state_too() -> None:
    config = CONFIGS["map_elites"]
    search = begin(config)
    search.load_state_dict(begin(config).state_dict())
    search.run(400)
    whole = begin(config)
    whole.run(400)
    assert torch.equal(search.archive.latents, whole.archive.latents)
    with pytest.raises(SearchError, match="call run first"):
        _ = begin(config).archive


def test_archives_and_states_are_left_alone_by_further_search(tmp_path: Path) -> None:
    search = begin(CONFIGS["map_elites"], iterations=5)
    archive, state = search.archive, search.state_dict()
    latents, copy = archive.latents.clone(), begin(search.config)
    before = bits(search, tmp_path)
    search.run(700)
    assert torch.equal(archive.latents, latents)
    copy.load_state_dict(state)
    copy.run(0)
    assert bits(copy, tmp_path) == before


def test_state_grows_with_the_elites_and_not_with_the_grid() -> None:
    def numbers(tree: object) -> int:
        if isinstance(tree, Tensor):
            assert tree.untyped_storage().nbytes() == tree.nbytes
            return tree.numel()
        items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
        return sum(numbers(item) for item in items)

    config = SearchConfig(grid=(1000, 1000), algorithm="map_elites", calibration=50)
    search = begin(config, iterations=1)
    per_elite = 6 + 2 + 3  # latent, measures; objective, threshold, cell
    # What remains are the bounds of the grid's cells and the emitters' few numbers.
    assert numbers(search.state_dict()) < per_elite * len(search.archive) + 2 * 1001 + 200


def test_budgets_are_kept_and_add_up() -> None:
    config = CONFIGS["random"]
    search, calls = begin(config), []
    assert search.minimum == 40
    assert search.run(100, on_iteration=lambda search: calls.append(search.evaluations)) == 82
    assert calls == [40, 61, 82]
    assert search.run(0) == 0
    assert search.run(21) == 21
    assert search.evaluations == 103
    for budget in (-1, 1, 20):
        with pytest.raises(SearchError, match=f"budget of {budget} evaluations .* takes 21"):
            search.run(budget)
    with pytest.raises(SearchError, match="takes 40"):
        begin(config).run(39)


def _search_on_a_rank(rank: int, folder: str, world_size: int) -> None:
    """Run a search as one of several processes, and save what this one holds."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size
    )
    config = SearchConfig(
        grid=(12, 10), emitters=3, batch_size=30, evaluation_batch_size=8, calibration=100
    )
    begin(config, iterations=6).save(f"{folder}/rank{rank}.safetensors")
    begin_uniquely(iterations=6).save(f"{folder}/unique{rank}.safetensors")
    dist.destroy_process_group()


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    _search_on_a_rank(0, str(alone), 1)
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=_search_on_a_rank, args=(rank, str(tmp_path), 2))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    for name in ("rank", "unique"):
        expected = (alone / f"{name}0.safetensors").read_bytes()
        for rank in range(2):
            assert (tmp_path / f"{name}{rank}.safetensors").read_bytes() == expected
