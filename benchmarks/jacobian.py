"""Time gradients against the published way, and a search iteration outside the networks.

Run by hand:

    OMP_NUM_THREADS=1 python -m benchmarks.jacobian
"""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from jsonargparse import auto_cli
from torch import Tensor

from qdgs_lightning.generators import Generator, ImplicitGenerator
from qdgs_lightning.guidance import Guidance, PromptGuidance
from qdgs_lightning.search import QDSearch, SearchConfig, evaluate
from qdgs_lightning.search.evaluation import Evaluated
from qdgs_lightning.utils.memory import keep_freed_memory


def published(generator: Generator, guidance: Guidance, latents: Tensor) -> Tensor:
    """Return objective and measures with their Jacobian ``[n, 1 + k, D]``, as published.

    One latent at a time, and a forward and a backward pass of its own for each value.
    """
    rows = []
    for latent in latents:
        gradients = []
        for value in range(1 + len(guidance.measure_names)):
            point = latent[None].clone().requires_grad_()
            objective, measures = guidance(generator(point), point)
            output = torch.cat([objective[:, None], measures], dim=1)[0, value]
            gradients.append(torch.autograd.grad(output, point)[0].flatten())
        rows.append(torch.stack(gradients))
    return torch.stack(rows)


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return how long a call keeps this process busy."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def compare_jacobians(
    generator: Generator, guidance: Guidance, *, batch_size: int, repeats: int
) -> None:
    """Print times per solution and their ratio."""
    latents = generator.sample_latents(batch_size, torch.Generator().manual_seed(0))
    few = latents[: max(1, batch_size // 4)]
    jacobian = evaluate(generator, guidance, few, jacobian=True).jacobian
    assert jacobian is not None
    error = (jacobian - published(generator, guidance, few)).abs().max() / jacobian.abs().max()
    ours, theirs, plain = [], [], []
    for _ in range(repeats):
        ours.append(cpu_seconds(lambda: evaluate(generator, guidance, latents, jacobian=True)))
        theirs.append(cpu_seconds(lambda: published(generator, guidance, few)))
        plain.append(cpu_seconds(lambda: evaluate(generator, guidance, latents)))
    mine = 1e3 * statistics.median(ours) / len(latents)
    its = 1e3 * statistics.median(theirs) / len(few)
    forward = 1e3 * statistics.median(plain) / len(latents)
    print(
        f"values and Jacobian, per solution: {mine:.2f} ms in batches of {batch_size}, "
        f"{its:.2f} ms as published: ratio {mine / its:.3f} (target <= 0.25); "
        f"largest relative difference {float(error):.1e}"
    )
    print(f"values alone: {forward:.2f} ms; a Jacobian costs {mine / forward:.1f} evaluations")


class TimedGenerator(ImplicitGenerator):
    """Adds up what sampling its prior takes: the flow is a network of the generator."""

    spent = 0.0

    def sample_latents(self, n: int, generator: torch.Generator) -> Tensor:
        """Sample; see `Generator.sample_latents`."""
        begin = time.process_time()
        latents = super().sample_latents(n, generator)
        self.spent += time.process_time() - begin
        return latents


class TimedSearch(QDSearch):
    """Adds up what evaluation takes."""

    spent = 0.0

    def _evaluate(self, latents: Tensor, *, jacobian: bool = False) -> Evaluated:
        begin = time.process_time()
        evaluated = super()._evaluate(latents, jacobian=jacobian)
        self.spent += time.process_time() - begin
        return evaluated


def share_outside(generator: TimedGenerator, guidance: Guidance, *, iterations: int) -> None:
    """Print how much of a search iteration is spent outside generator, guidance and autograd."""
    config = SearchConfig(grid=(50, 50), emitters=5, batch_size=36)
    marks: list[tuple[float, float]] = []
    search = TimedSearch(generator, guidance, config)
    search.run(
        config.calibration + iterations * config.iteration_size,
        on_iteration=lambda _: marks.append((time.process_time(), search.spent + generator.spent)),
    )
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]
    outside = [whole - inside for whole, inside in steps]
    print(
        f"{config.algorithm}, {config.emitters} emitters x {config.batch_size}: "
        f"{1e3 * statistics.median(outside):.0f} ms of "
        f"{1e3 * statistics.median([whole for whole, _ in steps]):.0f} ms per iteration outside "
        f"the networks: {sum(outside) / sum(whole for whole, _ in steps):.1%} (target <= 10 %)"
    )


def main(
    batch_size: int = 32,
    repeats: int = 9,
    iterations: int = 20,
    generator: str = "shapes_generator_090",
) -> None:
    """Time both on one core.

    Args:
        batch_size: Latents per forward pass.
        repeats: Timings whose median counts, taken in turns.
        iterations: Search iterations.
        generator: Weights of the generator.
    """
    keep_freed_memory()  # as every qdgs command does; both sides gain
    torch.set_num_threads(1)
    model, guidance = TimedGenerator(weights=generator), PromptGuidance()
    model.prepare()
    guidance.prepare()
    compare_jacobians(model, guidance, batch_size=batch_size, repeats=repeats)
    share_outside(model, guidance, iterations=iterations)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
