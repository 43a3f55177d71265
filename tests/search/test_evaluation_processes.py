"""`evaluate` where memory is short, where a process fails, and where one is slow."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qdgs_lightning.guidance import Evaluation
from qdgs_lightning.search import EvaluationError, QDSearch, SearchConfig, evaluate
from qdgs_lightning.search.evaluation import draw_images
from qdgs_lightning.search.processes import (
    ProcessError,
    check_same,
    exchange,
    first_alone,
    lost_process,
    together,
)
from tests.ranks import end_ranks, start_ranks
from tests.toys import ToyGenerator, ToyGuidance


class SmallMemory(ToyGenerator):
    """Runs out of memory above so many rows, and notes how many it was given each time."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.tried: list[int] = []

    def forward(self, latents: Tensor) -> Tensor:
        """Draw what fits."""
        self.tried.append(len(latents))
        if len(latents) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(latents)


def draw(n: int) -> Tensor:
    return ToyGenerator().sample_latents(n, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("jacobian", [False, True])
def test_what_memory_does_not_hold_is_halved_and_that_is_remembered(jacobian: bool) -> None:
    generator = SmallMemory(5)
    with pytest.warns(UserWarning, match=r"32 latents of SmallMemory .*search\.evaluation_batch_"):
        halved = evaluate(generator, ToyGuidance(), draw(45), jacobian=jacobian)
    # 32 fail, 16 fail, 8 fail, 4 fit; the rest of the chunk and the next one in fours at once.
    assert generator.tried == [32, 16, 8] + 8 * [4] + [4, 4, 4, 1]
    whole = evaluate(ToyGenerator(), ToyGuidance(), draw(45), jacobian=jacobian)
    torch.testing.assert_close(halved.objective, whole.objective)
    torch.testing.assert_close(halved.measures, whole.measures)
    if jacobian:
        torch.testing.assert_close(halved.jacobian, whole.jacobian)
    generator.tried.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        evaluate(generator, ToyGuidance(), draw(10), jacobian=jacobian)
        images = draw_images(generator, draw(9))
    assert generator.tried[:3] == [4, 4, 2]
    torch.testing.assert_close(images, ToyGenerator()(draw(9)).detach())
    other = SmallMemory(100)  # another generator is another matter
    evaluate(other, ToyGuidance(), draw(45))
    assert other.tried == [32, 13]


def test_not_even_one_row() -> None:
    with pytest.raises(EvaluationError, match="does not hold what a single latent of SmallMemory"):
        evaluate(SmallMemory(0), ToyGuidance(), draw(4))


class Misshapen(ToyGuidance):
    """Forgets a measure."""

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Spoil what a sound guidance says."""
        objective, measures = super().forward(images, latents)
        return Evaluation(objective, measures[:, 1:])


def complaint(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def fail() -> None:
    raise OSError("no space")


def _together(rank: int, folder: Path) -> None:
    """Go through it all as one of two; each process keeps what it saw."""
    sound, guidance = ToyGenerator(), ToyGuidance()
    small = SmallMemory(3) if rank else sound
    seen: dict[str, object] = {"texts": exchange(f"I am {rank}, “so”" if rank else "")}
    seen["small"] = vars(evaluate(small, guidance, draw(45), batch_size=8, jacobian=True))
    hopeless = SmallMemory(0) if rank else sound
    seen["hopeless"] = complaint(lambda: evaluate(hopeless, guidance, draw(45), batch_size=8))
    odd = guidance if rank else Misshapen()
    seen["odd"] = complaint(lambda: evaluate(sound, odd, draw(45), batch_size=8))
    # Where only one of them has anything to do.
    seen["few"] = complaint(lambda: evaluate(sound, odd, draw(3), batch_size=8))
    seen["first"] = complaint(lambda: first_alone(fail))
    seen["second"] = complaint(lambda: together(fail if rank else lambda: None))
    seen["alone"] = []
    first_alone(lambda: seen["alone"].append(rank))  # type: ignore[attr-defined]
    config = SearchConfig(grid=(5, 5), algorithm="map_elites", calibration=20, seed=rank)
    search = QDSearch(sound, guidance, SearchConfig(**(vars(config) | {"seed": 0})))
    search.run(20)
    check_same(search.archive)
    rows = search.archive
    latents = rows.latents + (1e-6 if rank else 0)
    moved = type(rows)(**(vars(rows) | {"latents": latents}))
    seen["other"] = complaint(lambda: check_same(moved))
    torch.save(seen, folder / f"seen{rank}.pt")


def test_two_processes_go_on_or_stop_together(tmp_path: Path) -> None:
    assert end_ranks(start_ranks(_together, tmp_path)) == [0, 0]
    first, second = (torch.load(tmp_path / f"seen{rank}.pt") for rank in range(2))
    assert first["texts"] == second["texts"] == ["", "I am 1, “so”"]
    whole = evaluate(ToyGenerator(), ToyGuidance(), draw(45), batch_size=8, jacobian=True)
    for name, value in vars(whole).items():
        assert torch.equal(first["small"][name], second["small"][name])
        torch.testing.assert_close(first["small"][name], value)
    said = "process 1 of this run has stopped: "
    assert first["hopeless"].lower().startswith(f"processerror: {said}memory does not hold")
    assert second["hopeless"].startswith("EvaluationError: Memory does not hold")
    for name in ("odd", "few"):
        assert first[name].startswith("EvaluationError: Misshapen returned")
        assert second[name].startswith("ProcessError: Process 0 of this run has stopped: Misshapen")
    assert (first["first"], first["second"]) == (
        "OSError: no space",
        "ProcessError: Process 1 of this run has stopped: no space",
    )
    assert (second["first"], second["second"]) == (
        "ProcessError: Process 0 of this run has stopped: no space",
        "OSError: no space",
    )
    assert (first["alone"], second["alone"]) == ([0], [])
    assert first["other"] == second["other"]
    assert "The archive of process 1 differs from that of process 0" in first["other"]


class SlowOnSecond(ToyGenerator):
    """Takes its time, on one of two processes."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, latents: Tensor) -> Tensor:
        """Draw, and wait."""
        time.sleep(self.seconds)
        return super().forward(latents)


def _unevenly(rank: int, folder: Path) -> None:
    """Evaluate for longer than the group's timeout; then keep the other waiting too long."""
    rows = evaluate(SlowOnSecond(rank * 0.35), ToyGuidance(), draw(40), batch_size=2)
    (folder / f"whole{rank}.txt").write_text(str(len(rows.objective)))
    if rank:
        time.sleep(3.5)
    evaluate(ToyGenerator(), ToyGuidance(), draw(4), batch_size=2)


def test_only_a_wait_counts_against_the_timeout(tmp_path: Path) -> None:
    # 20 chunks, ten of which take 0.35 seconds each.
    assert end_ranks(start_ranks(_unevenly, tmp_path, timeout=2.5)) == [1, 1]
    for rank in range(2):
        assert (tmp_path / f"whole{rank}.txt").read_text() == "40"
        sentence = (tmp_path / f"stopped{rank}.txt").read_text()
        assert sentence.startswith("ProcessError: Another process of this run is gone, or kept")
        assert "\n" not in sentence


def test_errors_that_have_nothing_to_do_with_processes_stay_what_they_are() -> None:
    assert lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert lost_process(ValueError("gloo/transport")) is None
    lost = lost_process(
        RuntimeError("[/a/gloo/transport/tcp/pair.cc:5] Connection closed by peer. GLHF")
    )
    assert isinstance(lost, ProcessError)
    assert "(Connection closed by peer)" in str(lost)
