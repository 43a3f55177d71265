"""Search W and W+ of a StyleGAN2 at equal CPU time: which reaches more, and what does it store?

Run by hand, for about 2 x seeds x seconds:

    OMP_NUM_THREADS=1 python -m benchmarks.latent_space

The network has 64 x 64 pixels and random weights, so what it draws means nothing to anybody; the
small CLIP of this package gives it a measure space of three axes all the same.
"""

import tempfile
from pathlib import Path

import torch
from benchmarks.search_runs import Contestant, Run, Scale, race
from jsonargparse import auto_cli

from qdgs_lightning.generators import StyleGAN2, StyleGAN2Generator
from qdgs_lightning.generators.stylegan2 import Checkpoint, save_stylegan2
from qdgs_lightning.generators.stylegan2.generator import LatentSpace
from qdgs_lightning.generators.stylegan2.io.assembly import sampled_styles
from qdgs_lightning.guidance import PromptGuidance, PromptPair
from qdgs_lightning.guidance.prompts import SHAPES_MEASURES
from qdgs_lightning.search import SearchConfig
from qdgs_lightning.utils.memory import keep_freed_memory

NETWORK = {
    "z_dim": 128,
    "c_dim": 0,
    "w_dim": 128,
    "img_resolution": 64,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 8},
    "synthesis_kwargs": {
        "channels": (64, 64, 64, 64, 32),
        "conv_clamp": None,
        "architecture": "skip",
    },
}
MEASURES = [
    *SHAPES_MEASURES,
    PromptPair(name="blur", positive="A blurry picture.", negative="A sharp picture."),
]
SPACES: tuple[LatentSpace, ...] = ("w", "w+")


def make_checkpoint(path: Path, seed: int) -> None:
    """Write a network of random weights."""
    torch.manual_seed(seed)
    network = StyleGAN2(**NETWORK).eval().requires_grad_(False)  # type: ignore[arg-type]
    styles = sampled_styles(network)
    network.mapping.w_avg.copy_(styles.mean(dim=0))
    save_stylegan2(
        Checkpoint(
            network=network,
            w_std=styles.std(dim=0).float(),
            config=NETWORK,
            kind="random weights",
            sha256="",
        ),
        path,
    )


def report(runs: list[Run], sizes: dict[str, float]) -> None:
    """Print one line for each space and seed, and the cells that either of a seed's two holds."""
    for run in sorted(runs, key=lambda run: (run.seed, run.algorithm)):
        seconds, evaluations, cells, _, evenness = run.curve[-1]
        either = set().union(*(set(other.cells) for other in runs if other.seed == run.seed))
        objective = sum(run.objective) / len(run.objective)
        print(
            f"seed {run.seed}, {run.algorithm}: {cells:.0f} of {len(either)} cells, mean objective "
            f"{objective:.1f}, {evenness:.2f} nats, {evaluations:.0f} evaluations in "
            f"{seconds:.0f} CPU-seconds, {sizes[run.algorithm]:.1f} kB an elite"
        )


def main(
    seeds: int = 3,
    seconds: float = 100.0,
    grid: tuple[int, int, int] = (16, 16, 16),
) -> None:
    """Race both, a network of its own for each seed.

    Args:
        seeds: How many seeds, from 0.
        seconds: CPU-seconds of each search.
        grid: Cells along the three measures.
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    guidance = PromptGuidance(measures=MEASURES)
    guidance.prepare()
    runs: list[Run] = []
    sizes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            path = Path(folder) / f"{seed}.safetensors"
            make_checkpoint(path, seed)
            contestants = []
            for space in SPACES:
                generator = StyleGAN2Generator(path, latent_space=space)
                generator.prepare()
                scale = Scale.of(generator, guidance, grid=grid)
                config = SearchConfig(grid=grid, ranges=scale.ranges, seed=seed)
                contestants.append(Contestant(space, config, generator, guidance, scale))
            runs += race(contestants, Path(folder), seconds=seconds, evaluations=None)
            for contestant in contestants:
                file = Path(folder) / "archive.safetensors"
                archive = contestant.search.archive
                archive.save(file)
                sizes[contestant.run.algorithm] = file.stat().st_size / len(archive) / 1e3
    report(runs, sizes)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
