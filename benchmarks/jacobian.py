"""Time gradients against the published way, and a search iteration outside the networks.

Run by hand:

    OMP_NUM_THREADS=1 python -m benchmarks.jacobian
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from jsonargparse import auto_cli
from numpy.typing import NDArray
from ribs.schedulers import Scheduler
from torch import Tensor

from qdgs_lightning.allocator import keep_freed_memory
from qdgs_lightning.generators import Generator, ImplicitGenerator
from qdgs_lightning.guidance import Guidance, PromptGuidance
from qdgs_lightning.search import evaluate
from qdgs_lightning.search.prior import LatentPrior, Prior
from qdgs_lightning.search.store import PackedGridArchive
from qdgs_lightning.search.targeted import TargetedEmitter


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


class TimedPrior(Prior):
    """Samples the prior and adds up what that takes: the flow is a network of the generator."""

    spent = 0.0

    def __call__(self, n: int, seed: int) -> NDArray[np.float32]:
        """Sample; see `Prior`."""
        begin = time.process_time()
        latents = super().__call__(n, seed)
        self.spent += time.process_time() - begin
        return latents


def share_outside(
    generator: Generator, guidance: Guidance, *, iterations: int, emitters: int, batch_size: int
) -> None:
    """Print how much of a search iteration is spent outside generator, guidance and autograd."""
    rng = torch.Generator().manual_seed(1)
    latents = generator.sample_latents(512, rng)
    sample = evaluate(generator, guidance, latents)
    assert sample.jacobian is None
    measures = sample.measures.double().numpy()
    low, high = np.quantile(measures, (0.01, 0.99), axis=0)
    archive = PackedGridArchive(
        solution_dim=generator.latent_size,
        grid=(50,) * len(low),
        ranges=tuple(zip((low - 0.2 * (high - low)).tolist(), high.tolist(), strict=True)),
        seed=np.random.SeedSequence(0),
    )
    archive.add(latents.flatten(1).numpy(), sample.objective.numpy(), sample.measures.numpy())
    prior = LatentPrior.of(latents.flatten(1).numpy())
    timed = TimedPrior(generator)
    scheduler = Scheduler(
        archive,
        [
            TargetedEmitter(
                archive,
                x0=prior.mean,
                sigma0=prior.std,
                prior=timed,
                max_norm=prior.max_norm,
                batch_size=emitters * batch_size,
                seed=0,
            )
        ],
    )
    outside, inside = [], []
    for _ in range(iterations):
        begin, before = time.process_time(), timed.spent
        spent = 0.0
        for ask, tell, jacobian in (
            (scheduler.ask_dqd, scheduler.tell_dqd, True),
            (scheduler.ask, scheduler.tell, False),
        ):
            solutions = torch.from_numpy(ask()).reshape(-1, *generator.latent_shape)
            start = time.process_time()
            found = evaluate(generator, guidance, solutions, jacobian=jacobian)
            spent += time.process_time() - start
            values = [found.objective.numpy(), found.measures.numpy()]
            if found.jacobian is not None:
                values.append(found.jacobian.numpy())
            tell(*values)
        spent += timed.spent - before
        inside.append(spent)
        outside.append(time.process_time() - begin - spent)
    share = sum(outside) / (sum(outside) + sum(inside))
    print(
        f"{emitters} emitters x {batch_size}: {1e3 * statistics.median(outside):.0f} ms of "
        f"{1e3 * statistics.median([a + b for a, b in zip(outside, inside, strict=True)]):.0f} ms "
        f"per iteration outside the networks: {share:.1%} (target <= 10 %)"
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
    model, guidance = ImplicitGenerator(weights=generator), PromptGuidance()
    model.prepare()
    guidance.prepare()
    compare_jacobians(model, guidance, batch_size=batch_size, repeats=repeats)
    share_outside(model, guidance, iterations=iterations, emitters=5, batch_size=36)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
