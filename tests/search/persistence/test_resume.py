"""Which of several files an interrupted search goes on from."""

from itertools import permutations
from pathlib import Path

from qdgs_lightning.search.persistence.resume import evaluations_to_reach, further_search
from tests.search.searches import CONFIGS, begin
from tests.toys import ToyGenerator, ToyGuidance

CONFIG = CONFIGS["map_elites"]


def test_the_farthest_that_is_not_too_far(tmp_path: Path) -> None:
    paths, spent = [tmp_path / "none"], []
    for iterations in (2, 5, 9):
        search = begin(CONFIG, iterations)
        paths.append(tmp_path / f"{iterations}.safetensors")
        search.save(paths[-1])
        spent.append(search.evaluations)

    def found(after: int, until: int, order: tuple[Path, ...]) -> int | None:
        search = further_search(
            order,
            generator=ToyGenerator((2, 3)),
            guidance=ToyGuidance(),
            config=CONFIG,
            after=after,
            until=until,
        )
        return None if search is None else search.evaluations

    for order in permutations(paths):
        assert found(0, spent[2], order) == spent[2]
        assert found(0, spent[2] - 1, order) == spent[1]
        assert found(spent[0], spent[1], order) == spent[1]
        assert found(spent[1], spent[2] - 1, order) is None
        assert found(spent[2], 10**6, order) is None


def test_a_file_says_how_far_its_search_was_to_go(tmp_path: Path) -> None:
    search, path = begin(CONFIG, 2), tmp_path / "some.safetensors"
    search.save(path, until=777)
    assert evaluations_to_reach(path) == 777
    search.save(path)
    assert evaluations_to_reach(path) is None
