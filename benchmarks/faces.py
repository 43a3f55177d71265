"""Time what training on faces costs beside training: drawing, the cache, and the search.

Run by hand, offline, for about ten minutes on a core:

    OMP_NUM_THREADS=1 python -m benchmarks.faces

Three comparisons, both sides of each in one run, in turns, in CPU-seconds: a training step on faces
of the generator out of the cache against one on the same images in memory; evaluations of a
StyleGAN2 of FFHQ's size under ViT-B/32 in batches against the published scheme of one row at a time
(random weights: speed does not ask what they are); and how long searches take on avatars to cover
what the published settings cover in 1,000 iterations.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from benchmarks.jacobian import cpu_seconds, published
from jsonargparse import auto_cli
from torch import Tensor, nn
from torch.nn import functional as F

from qdgs_lightning.generators import Generator, StyleGAN2, StyleGAN2Generator
from qdgs_lightning.generators.stylegan2 import Checkpoint, save_stylegan2
from qdgs_lightning.guidance import Guidance, PromptGuidance
from qdgs_lightning.guidance.prompts import FACE_MEASURES, FACE_OBJECTIVE
from qdgs_lightning.identities import FileEdits, IdentityTable
from qdgs_lightning.identities.drawer import FaceDrawer
from qdgs_lightning.identities.image_cache import ImageCache
from qdgs_lightning.models import CosFace, IResNet
from qdgs_lightning.search import QDSearch, SearchConfig, evaluate
from qdgs_lightning.utils.memory import keep_freed_memory

_SIDE = 64
_BATCH = 64


def avatars() -> StyleGAN2Generator:
    """Load the shipped generator of avatars."""
    generator = StyleGAN2Generator(Path("avatars_generator"))
    generator.prepare()
    return generator


def compare_steps(repeats: int) -> None:
    """Print what a training step costs with images from the cache, drawn anew, and in memory."""
    generator, number = avatars(), 16
    latents = generator.sample_latents(2 * number, torch.Generator().manual_seed(0))
    classes = torch.arange(number).repeat_interleave(2)
    bins = torch.zeros(len(latents), dtype=torch.int64)
    table = IdentityTable(latents=latents, classes=classes, bins=bins, bin_names=("all",))
    drawer = FaceDrawer(
        generator, edits=FileEdits(Path("avatars_edits")), align="none", image_size=_SIDE
    )
    drawer.place(table, torch.device("cpu"))
    cache = ImageCache(side=_SIDE, device=torch.device("cpu"), rank=0, world=1)
    cache.renew(torch.arange(len(latents)), edits=drawer.num_edits)
    rows = torch.arange(len(latents) * drawer.num_edits)
    ready = cache.get(rows, drawer.draw)

    torch.manual_seed(0)
    backbone = IResNet(layers=(1, 1, 1, 1), width=16, embedding_dim=128, image_size=_SIDE)
    step = trainer_step(backbone, CosFace(128, number))
    batches = torch.split(rows[torch.randperm(len(rows))], _BATCH)[:-1]
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "in memory": lambda batch: ready[batch],
        "from the cache": lambda batch: cache.get(batch, drawer.draw),
        "drawn": drawer.draw,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, images in ways.items():
            times[name] += [
                cpu_seconds(lambda: step(images(batch), drawer.classes(batch)))  # noqa: B023
                for batch in batches
            ]
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"step of {_BATCH} images of {_SIDE} pixels: "
        + ", ".join(f"{1e3 * value:.0f} ms {name}" for name, value in medians.items())
        + f"; cache / memory {medians['from the cache'] / medians['in memory']:.3f} "
        f"(target <= 1.05), first epoch / later ones {medians['drawn'] / medians['in memory']:.2f}"
    )


def trainer_step(backbone: nn.Module, head: nn.Module) -> Callable[[Tensor, Tensor], None]:
    """Return what trains on a batch of uint8 images and classes."""
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD([p for p in parameters if p.requires_grad], lr=0.01)

    def step(images: Tensor, classes: Tensor) -> None:
        logits = head(backbone(images.float() / 255), classes)
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits, classes))
        optimizer.step()

    return step


def ffhq_sized(folder: Path, *, side: int = 256, most: int = 512) -> StyleGAN2Generator:
    """Make a StyleGAN2 of the size of FFHQ's at 256 pixels, with random weights.

    Args:
        folder: Where its file goes.
        side: Of the images, a smaller one to try things.
        most: Channels of any resolution.
    """
    sides = [2**power for power in range(2, side.bit_length())]
    config = {
        "z_dim": 512,
        "c_dim": 0,
        "w_dim": 512,
        "img_resolution": side,
        "img_channels": 3,
        "mapping_kwargs": {"num_layers": 8},
        "synthesis_kwargs": {
            "channels": tuple(min(16384 // each, most) for each in sides),
            "conv_clamp": None,
            "architecture": "skip",
        },
    }
    torch.manual_seed(0)
    network = StyleGAN2(**config)  # type: ignore[arg-type]
    made = Checkpoint(
        network=network, w_std=torch.ones(512), config=config, kind="random", sha256=""
    )
    save_stylegan2(made, folder / "ffhq_sized.safetensors")
    generator = StyleGAN2Generator(folder / "ffhq_sized.safetensors")
    generator.prepare()
    return generator


def compare_evaluations(generator: Generator, guidance: Guidance, *, repeats: int) -> None:
    """Print evaluations with Jacobian per CPU-second, in batches and as published."""
    latents = generator.sample_latents(8, torch.Generator().manual_seed(0))
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        times.setdefault("published", []).append(
            cpu_seconds(lambda: published(generator, guidance, latents[:1]))
        )
        for size in (1, 2, 4, 8):
            part = latents[:size]
            seconds = cpu_seconds(
                lambda: evaluate(generator, guidance, part, jacobian=True, batch_size=size)  # noqa: B023
            )
            times.setdefault(f"{size} rows", []).append(seconds / size)
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min((name for name in medians if name != "published"), key=medians.__getitem__)
    print(
        "StyleGAN2 of FFHQ-256's size under ViT-B/32, values and Jacobian, CPU-seconds a latent: "
        + ", ".join(f"{value:.2f} {name}" for name, value in medians.items())
        + f"; published / ours ({best}) {medians['published'] / medians[best]:.2f} "
        "(target >= 1.6 on a CPU)"
    )


def compare_coverage(iterations: int, seeds: int) -> None:
    """Print CPU-seconds until a search covers what the published settings cover."""
    grid = (12, 10, 8, 10)
    ranges = ((-0.66, 0.66), (-0.6, 0.6), (-0.48, 0.48), (-0.46, 0.46))
    settings = vars(SearchConfig.published(grid=grid)) | {"ranges": ranges}
    for seed in range(seeds):
        generator, guidance = avatars(), avatar_prompts()
        theirs = QDSearch(generator, guidance, SearchConfig(**settings | {"seed": seed}))
        size = theirs.config.calibration + iterations * theirs.config.iteration_size
        spent = cpu_seconds(lambda: theirs.run(size))  # noqa: B023
        wanted = theirs.stats.num_elites
        for algorithm in ("targeted", "screened"):
            config = SearchConfig(grid=grid, algorithm=algorithm, ranges=ranges, seed=seed)
            ours, begin = QDSearch(generator, guidance, config), time.process_time()
            while not ours.evaluations or ours.stats.num_elites < wanted:
                ours.run(ours.minimum)
            seconds = time.process_time() - begin
            print(
                f"avatars, seed {seed}: published, {iterations} iterations, {wanted} cells in "
                f"{spent:.1f} CPU-seconds; {algorithm} as many in {seconds:.1f} "
                f"({ours.evaluations} evaluations): {seconds / spent:.3f} (target <= 0.1)",
                flush=True,
            )


def avatar_prompts(**settings: object) -> PromptGuidance:
    """Make the published face prompts for the small CLIP, or for another."""
    clip: dict[str, object] = {"model": "avatars_clip", "pretrained": "avatars_clip"}
    guidance = PromptGuidance(
        objective=FACE_OBJECTIVE,
        measures=FACE_MEASURES,
        **clip | settings,  # type: ignore[arg-type]
    )
    guidance.prepare()
    return guidance


def main(repeats: int = 5, iterations: int = 1000, seeds: int = 2) -> None:
    """Time all three on one core.

    Args:
        repeats: Timings whose median counts, taken in turns.
        iterations: Of the search with the published settings.
        seeds: Searches of each kind.
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    compare_steps(repeats)
    compare_coverage(iterations, seeds)
    with tempfile.TemporaryDirectory() as folder:
        vit = avatar_prompts(model="ViT-B-32", pretrained=None)
        compare_evaluations(ffhq_sized(Path(folder)), vit, repeats=min(repeats, 3))


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
